"""Prints as JSON whether logging as oslo.log sets it up starts with each of the values argv[1]: [[option, value, ...], ...]."""
import json
import sys

from oslo_config import cfg
from oslo_log import log


def starts(option, value):
    conf = cfg.ConfigOpts()
    log.register_options(conf)
    conf([], project="none", default_config_files=[], default_config_dirs=[])
    try:
        # The facility is looked at only where it is used.
        conf.set_override("use_syslog", True)
        conf.set_override(option, value)
        log.setup(conf, "kuryr")
    except (ValueError, TypeError):
        return False
    return True


print(json.dumps([starts(option, value) for option, value, *_ in json.loads(sys.argv[1])]))
