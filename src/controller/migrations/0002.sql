CREATE TABLE security_groups (
    id TEXT PRIMARY KEY, project_id TEXT NOT NULL, name TEXT NOT NULL, document TEXT NOT NULL
) STRICT;
-- Two requests that both find a project without a default group must not make two.
CREATE UNIQUE INDEX security_groups_default ON security_groups(project_id) WHERE name = 'default';
CREATE TABLE security_group_rules (
    id TEXT PRIMARY KEY, project_id TEXT NOT NULL,
    security_group_id TEXT NOT NULL REFERENCES security_groups(id) ON DELETE CASCADE,
    remote_group_id TEXT REFERENCES security_groups(id) ON DELETE CASCADE,
    -- What the rule decides, in one canonical text: the same decision twice in a group is a duplicate.
    identity TEXT NOT NULL, document TEXT NOT NULL,
    UNIQUE (security_group_id, identity)
) STRICT;
CREATE INDEX security_group_rules_remote ON security_group_rules(remote_group_id);
CREATE TABLE port_security_groups (
    port_id TEXT NOT NULL REFERENCES ports(id) ON DELETE CASCADE,
    -- No cascade: a group in use cannot be deleted.
    group_id TEXT NOT NULL REFERENCES security_groups(id),
    PRIMARY KEY (port_id, group_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX port_security_groups_group ON port_security_groups(group_id);
