"""What the Python kuryr-libnetwork (17, on a Neutron with tags) does not do: case → why. A case that passes all the same is an error."""

PYTHON_FAULTS = {
}
