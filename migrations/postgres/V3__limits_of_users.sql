-- An override may be for every key of a user, too, and says which of a role's limits it is about.

ALTER TABLE rate_limit_overrides
    ADD COLUMN user_id    text,
    -- `[rate_limits.NAME]` of the policy; where it is NULL, the first that the caller's role names.
    ADD COLUMN rate_limit text,
    DROP CONSTRAINT one_subject,
    ADD CONSTRAINT one_subject CHECK (num_nonnulls(key_id, user_id, role) = 1),
    DROP CONSTRAINT rate_limit_overrides_key_id_key,
    DROP CONSTRAINT rate_limit_overrides_role_key;

CREATE UNIQUE INDEX rate_limit_overrides_key_id ON rate_limit_overrides (key_id, COALESCE(rate_limit, ''));
CREATE UNIQUE INDEX rate_limit_overrides_user_id ON rate_limit_overrides (user_id, COALESCE(rate_limit, ''));
CREATE UNIQUE INDEX rate_limit_overrides_role ON rate_limit_overrides (role, COALESCE(rate_limit, ''));
