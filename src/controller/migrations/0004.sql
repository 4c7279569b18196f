-- A token of an application credential holds no more roles than the credential, and goes with it.
ALTER TABLE tokens ADD COLUMN application_credential_id TEXT REFERENCES application_credentials(id) ON DELETE CASCADE;
-- Names of the token that are no secret: its own, and after a comma that of the login it was made from.
ALTER TABLE tokens ADD COLUMN audit_ids TEXT NOT NULL DEFAULT '';
CREATE INDEX tokens_user ON tokens(user_id);
-- In seconds since 1970.
ALTER TABLE application_credentials ADD COLUMN expires_at INTEGER;
CREATE TABLE application_credential_roles (
    application_credential_id TEXT NOT NULL REFERENCES application_credentials(id) ON DELETE CASCADE,
    role_id TEXT NOT NULL REFERENCES roles(id) ON DELETE CASCADE,
    PRIMARY KEY (application_credential_id, role_id)
) STRICT, WITHOUT ROWID;
-- Assignments with what they imply: in a Keystone as `keystone-manage bootstrap` leaves it, an admin is a member is a reader.
CREATE VIEW effective_roles AS
SELECT DISTINCT a.user_id, a.project_id, r.id AS role_id, r.name
FROM role_assignments a
JOIN roles held ON held.id = a.role_id
JOIN roles r ON r.id = held.id OR (held.name, r.name) IN (VALUES ('admin', 'member'), ('admin', 'reader'), ('member', 'reader'));
CREATE VIEW token_roles AS
SELECT t.id AS token_id, e.role_id, e.name
FROM tokens t
JOIN effective_roles e ON e.user_id = t.user_id AND e.project_id = t.project_id
WHERE t.application_credential_id IS NULL OR EXISTS (
    SELECT 1 FROM application_credential_roles c
    WHERE c.application_credential_id = t.application_credential_id AND c.role_id = e.role_id
);
