"""A lab's life: up, down, status, and commands on its nodes."""

import concurrent.futures
import importlib
import json
import os
import time

import dashboard
import database
import docker
import keystone
import neutron
import nodes
import plugins
import rest
import roots
from places import ADDRESS, CONTROLLER, NETWORKERS, NEUTRON, RUN, SUITE_OF_CLOUD, SUITE_OF_DOCKER, LabError

CHOICE = RUN / "choice.json"
started = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)


def all_nodes():
    return {name: nodes.Node(name) for name in ADDRESS}


def up(cloud, plugin, engine, with_dashboard):
    if os.getuid() != 0:
        raise LabError("needs root: it makes namespaces, mounts and links")
    suite = SUITE_OF_CLOUD[cloud]
    engine = engine or next(version for version, its_suite in SUITE_OF_DOCKER.items() if its_suite == suite)
    previous = choose({"cloud": cloud, "docker": engine, "plugin": plugin})
    root = roots.ensure(suite, say)
    engine_root = None if SUITE_OF_DOCKER[engine] == suite else roots.ensure(f"{SUITE_OF_DOCKER[engine]}-engine", say)
    if plugin == "python":
        plugins.prepare(suite, say)
    if with_dashboard:
        dashboard.prepare(suite, say)
    program = plugins.binary(say) if plugin == "kuryr" else None

    say("Three nodes on a wire")
    wire = nodes.Wire()
    wire.up()
    lab = all_nodes()
    lab[CONTROLLER].up(wire, root, binds=dashboard.binds(suite))
    for name in NETWORKERS:
        lab[name].up(wire, root, engine_root, plugins.binds(suite))
        if previous not in (None, plugin):
            plugins.end(lab[name])
    start_cloud(importlib.import_module(cloud.replace("-", "_")), lab, roots.tables(suite), plugin, program)
    if with_dashboard:
        dashboard.start(lab[CONTROLLER])
        say("Horizon answers; `tools/lab topology` looks at it with a browser")
    say(f"Up: {cloud}, Docker {engine}, plugin {plugin}. Try `tools/lab openstack network agent list`")


def choose(wanted):
    """A lab is of one cloud and one Docker; another wants `down` first. Returns the plugin that ran on it, which may be exchanged."""
    RUN.mkdir(parents=True, exist_ok=True)
    previous = None
    if CHOICE.exists() and any(node.pid() for node in all_nodes().values()):
        present = json.loads(CHOICE.read_text())
        previous = present["plugin"]
        if {**present, "plugin": wanted["plugin"]} != wanted:
            raise LabError(f"a lab with {describe(present)} is up; `tools/lab down` ends it")
    CHOICE.write_text(json.dumps(wanted))
    return previous


def describe(choice):
    return ", ".join(f"{key} {value}" for key, value in choice.items())


def start_cloud(cloud, lab, tables, plugin, program):
    """Everything in the order in which it is needed, and what is independent at the same time."""
    controller = lab[CONTROLLER]
    networkers = [lab[name] for name in NETWORKERS]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        messages = pool.submit(database.start_messages, controller) if cloud.NEEDS_MESSAGES else None
        engines = [pool.submit(docker.start, node) for node in networkers]
        say("MariaDB" + (", RabbitMQ" if messages else "") + " on the controller, dockerd on the network nodes")
        keystone.write_rc(controller)
        keystone.configure(controller)
        cloud.configure(lab)
        database.start_database(controller)
        say("Schemas of Keystone and Neutron")
        schema = pool.submit(once, controller, "neutron-schema", neutron.prepare, tables)
        once(controller, "keystone-schema", keystone.prepare, tables)
        keystone.start(controller)
        say("Keystone answers")
        once(controller, "neutron-account", keystone.add_neutron)
        for done in filter(None, (schema, messages)):
            done.result()
        cloud.start_server(controller)
        say("Neutron answers")
        for done in [pool.submit(cloud.start_agents, node) for node in networkers] + engines:
            done.result()
        for done in [pool.submit(plugins.start, node, plugin, program) for node in networkers]:
            done.result()
    say("dockerd, the agents and the plugin run on the network nodes")
    nodes.await_condition(lambda: missing_agents(cloud, controller) == set(), "Neutron sees its agents alive: "
                          f"{sorted(cloud.expected_agents())}; see `tools/lab openstack network agent list`", 180)


def once(node, mark, step, *arguments):
    """A step that is not repeated by a second `up`."""
    file = node.file(f"/var/lib/lab-{mark}")
    if not file.exists():
        step(node, *arguments)
        file.touch()


def missing_agents(cloud, controller):
    listed = rest.Cloud(controller).call("GET", f"{NEUTRON}/v2.0/agents")["agents"]
    alive = {(agent["binary"], agent["host"]) for agent in listed if agent["alive"]}
    return cloud.expected_agents() - alive


def down():
    for node in all_nodes().values():
        node.down()
    nodes.Wire().process.kill()
    nodes.remove_tree(RUN)


def status():
    """Prints what runs; 0 when all nodes are up."""
    lab = all_nodes()
    if not CHOICE.exists():
        print("no lab; `tools/lab up` starts one")
        return 1
    print(describe(json.loads(CHOICE.read_text())))
    for name, node in lab.items():
        if node.pid() is None:
            print(f"{name:<12}{node.address:<15}down")
            continue
        services = sorted(file.stem for file in node.file("/run/lab").glob("*.pid"))
        states = (service if node.runs(service) else f"{service} (ended)" for service in services)
        print(f"{name:<12}{node.address:<15}up    {' '.join(states)}")
    return 0 if all(node.pid() for node in lab.values()) else 1


def execute(name, command):
    """Becomes the command on the node: its input, output and exit code."""
    line = nodes.Node(name).command(*command)
    os.execvpe(line[0], line, nodes.ENVIRONMENT)
