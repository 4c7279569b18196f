"""Prints as JSON what oslo.config makes of the file argv[1] for the options argv[2]: [[group, name, is a list, old names], ...]."""
import json
import sys

from oslo_config import cfg

conf = cfg.ConfigOpts()
options = json.loads(sys.argv[2])
for group, name, is_list, old_names, default in options:
    old = [cfg.DeprecatedOpt(old) for old in old_names]
    kind = cfg.ListOpt if is_list else cfg.StrOpt
    if is_list and default is not None:
        default = default.split(",")
    conf.register_opt(kind(name, default=default, deprecated_opts=old), group=None if group == "DEFAULT" else group)
try:
    conf([], project="none", default_config_files=[sys.argv[1]], default_config_dirs=[])
    answer = {}
    for group, name, *_ in options:
        answer[group + "." + name] = conf[name] if group == "DEFAULT" else conf[group][name]
except cfg.Error as error:
    answer = {"error": type(error).__name__}
print(json.dumps(answer))
