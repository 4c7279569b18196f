-- A row is an object of the API: what the database must hold unique or refer to stands in columns, the rest in the JSON document.
CREATE TABLE networks (
    id TEXT PRIMARY KEY, project_id TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL
) STRICT;
CREATE TABLE subnetpools (
    id TEXT PRIMARY KEY, project_id TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL
) STRICT;
CREATE TABLE subnets (
    id TEXT PRIMARY KEY, project_id TEXT NOT NULL, name TEXT NOT NULL,
    network_id TEXT NOT NULL REFERENCES networks(id),
    subnetpool_id TEXT REFERENCES subnetpools(id),
    document TEXT NOT NULL
) STRICT;
CREATE INDEX subnets_network ON subnets(network_id);
CREATE INDEX subnets_pool ON subnets(subnetpool_id);
CREATE TABLE ports (
    id TEXT PRIMARY KEY, project_id TEXT NOT NULL, name TEXT NOT NULL,
    network_id TEXT NOT NULL REFERENCES networks(id),
    mac_address TEXT NOT NULL, device_id TEXT NOT NULL, document TEXT NOT NULL,
    UNIQUE (network_id, mac_address)
) STRICT;
CREATE INDEX ports_device ON ports(device_id);
CREATE TABLE port_addresses (
    port_id TEXT NOT NULL REFERENCES ports(id) ON DELETE CASCADE,
    network_id TEXT NOT NULL,
    subnet_id TEXT NOT NULL REFERENCES subnets(id),
    -- Sixteen bytes, IPv4 mapped into IPv6, so that the order of the blobs is the order of the addresses.
    ip BLOB NOT NULL,
    PRIMARY KEY (network_id, ip)
) STRICT;
CREATE INDEX port_addresses_port ON port_addresses(port_id);
CREATE INDEX port_addresses_subnet ON port_addresses(subnet_id, ip);
-- Where the next search for a free address of a subnet starts: a released address is not handed out again at once.
CREATE TABLE address_cursors (
    subnet_id TEXT PRIMARY KEY REFERENCES subnets(id) ON DELETE CASCADE, ip BLOB NOT NULL
) STRICT;
CREATE TABLE users (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, password_hash TEXT, document TEXT NOT NULL
) STRICT;
CREATE TABLE projects (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, document TEXT NOT NULL) STRICT;
CREATE TABLE roles (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, document TEXT NOT NULL) STRICT;
CREATE TABLE role_assignments (
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
    role_id TEXT NOT NULL REFERENCES roles(id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, project_id, role_id)
) STRICT;
CREATE TABLE application_credentials (
    id TEXT PRIMARY KEY, name TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
    secret_hash TEXT NOT NULL, document TEXT NOT NULL,
    UNIQUE (user_id, name)
) STRICT;
CREATE TABLE tokens (
    -- The random token itself: the file is readable by root only.
    id TEXT PRIMARY KEY, user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
    project_id TEXT REFERENCES projects(id) ON DELETE CASCADE,
    method TEXT NOT NULL, issued_at INTEGER NOT NULL, expires_at INTEGER NOT NULL
) STRICT;
