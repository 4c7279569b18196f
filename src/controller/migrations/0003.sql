CREATE TABLE quotas (
    project_id TEXT NOT NULL, resource TEXT NOT NULL,
    -- -1 is no limit.
    amount INTEGER NOT NULL, PRIMARY KEY (project_id, resource)
) STRICT, WITHOUT ROWID;
CREATE TABLE routers (
    id TEXT PRIMARY KEY, project_id TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL
) STRICT;
CREATE TABLE floatingips (
    id TEXT PRIMARY KEY, project_id TEXT NOT NULL,
    floating_network_id TEXT NOT NULL REFERENCES networks(id),
    floating_ip_address TEXT NOT NULL,
    -- The port it leads to; it stays, without one, when that port goes.
    port_id TEXT REFERENCES ports(id) ON DELETE SET NULL,
    fixed_ip_address TEXT,
    router_id TEXT REFERENCES routers(id),
    document TEXT NOT NULL,
    UNIQUE (floating_network_id, floating_ip_address),
    UNIQUE (floating_network_id, port_id, fixed_ip_address)
) STRICT;
CREATE INDEX floatingips_port ON floatingips(port_id);
CREATE INDEX floatingips_router ON floatingips(router_id);
