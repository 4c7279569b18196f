"""dockerd on a network node, and the one image of the lab."""

from nodes import cgroup

IMAGE = "busybox"


def start(node):
    node.launch(
        "dockerd", "dockerd", "--host", "unix:///run/docker.sock", "--pidfile", "/run/docker.pid", "--cgroup-parent", cgroup(node),
    )
    node.await_service("dockerd", 180, "docker", "version")
    if not node.succeeds("docker", "image", "inspect", IMAGE):
        make_image(node)


def make_image(node):
    """No registry can be reached from a node; busybox makes an image by itself."""
    node.run("sh", "-c", f"""set -e; root=$(mktemp -d); mkdir $root/bin $root/tmp; cp "$(command -v busybox)" $root/bin/busybox
        for applet in $($root/bin/busybox --list); do [ $applet = busybox ] || ln -s busybox $root/bin/$applet; done
        tar -C $root -c . | docker import --change 'CMD ["sh"]' - {IMAGE}; rm -rf $root""")
