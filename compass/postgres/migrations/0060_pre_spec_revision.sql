-- Why: what specifications said before, and the operations in them, which people look for by words.
-- Old code: unaffected; a trigger keeps what it writes, too.
-- Lock: SHARE ROW EXCLUSIVE on spec: its writers wait while the specifications are copied, a second for some 50 MB.
SET LOCAL lock_timeout = '2s';

CREATE TABLE spec_revision (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    api_definition_id uuid REFERENCES api_definition ON DELETE CASCADE,
    event_definition_id uuid REFERENCES event_definition ON DELETE CASCADE,
    definition_id uuid NOT NULL GENERATED ALWAYS AS (coalesce(api_definition_id, event_definition_id)) STORED,
    number integer NOT NULL,
    type text NOT NULL,
    format text NOT NULL,
    data text NOT NULL,
    digest bytea NOT NULL,
    size integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    indexed_at timestamptz,
    index_at timestamptz NOT NULL DEFAULT now(),
    index_attempts smallint NOT NULL DEFAULT 0,
    problem text,
    CONSTRAINT spec_revision_once UNIQUE (definition_id, number),
    CHECK (num_nonnulls(api_definition_id, event_definition_id) = 1)
);
CREATE INDEX spec_revision_of_api ON spec_revision (api_definition_id) WHERE api_definition_id IS NOT NULL;
CREATE INDEX spec_revision_of_event ON spec_revision (event_definition_id) WHERE event_definition_id IS NOT NULL;
CREATE INDEX spec_revision_to_index ON spec_revision (index_at) WHERE indexed_at IS NULL AND index_attempts < 5;
COMMENT ON TABLE spec_revision IS 'each text that a specification had, the present one too, as far back as it is kept';
COMMENT ON COLUMN spec_revision.number IS 'from 1, in the order of changes';
COMMENT ON COLUMN spec_revision.digest IS 'SHA-256 of data in UTF-8';
COMMENT ON COLUMN spec_revision.size IS 'of data, in bytes of UTF-8';
COMMENT ON COLUMN spec_revision.indexed_at IS 'when its operations were taken out of it';
COMMENT ON COLUMN spec_revision.index_at IS 'not before then; whoever is at it moves it on, so that a process that dies over a text is not followed by all';
COMMENT ON COLUMN spec_revision.problem IS 'why there are no operations of it';

CREATE TABLE spec_operation (
    revision_id uuid NOT NULL REFERENCES spec_revision ON DELETE CASCADE,
    position integer NOT NULL,
    definition_id uuid NOT NULL,
    verb text NOT NULL,
    path text NOT NULL,
    name text NOT NULL,
    summary text NOT NULL,
    deprecated boolean NOT NULL,
    words text NOT NULL,
    PRIMARY KEY (revision_id, position)
);
CREATE INDEX spec_operation_of_definition ON spec_operation (definition_id);
COMMENT ON TABLE spec_operation IS 'what can be called or heard, of the newest revision that was taken apart; made of it, so it may be emptied: set indexed_at to null';
COMMENT ON COLUMN spec_operation.path IS 'or the address of a channel, or a name; `place` is a word of compiled reads';
COMMENT ON COLUMN spec_operation.words IS 'what it is found by, in lower case';

-- Whoever changes definitions adds revisions by it, and changes none. Operations are the plane's own work to write.
SELECT keep_to_tenants_v1('spec_revision', 'reaches_definition_v1(definition_id)', may => 'SELECT, INSERT');
SELECT keep_to_tenants_v1('spec_operation', 'reaches_definition_v1(definition_id)', may => 'SELECT');

CREATE FUNCTION keep_spec_revision_v1() RETURNS trigger
    LANGUAGE plpgsql
    -- The same text again is no revision. Whoever writes a specification holds its definition or its row, so that the
    -- numbers of one definition are given out one after the other; the constraint sees to it.
    AS $$
    DECLARE
        fingerprint bytea := sha256(convert_to(NEW.data, 'UTF8'));
        last record;
    BEGIN
        SELECT number, digest INTO last FROM spec_revision
        WHERE definition_id = coalesce(NEW.api_definition_id, NEW.event_definition_id) ORDER BY number DESC LIMIT 1;
        IF last.digest IS DISTINCT FROM fingerprint THEN
            INSERT INTO spec_revision (api_definition_id, event_definition_id, number, type, format, data, digest, size)
            VALUES (
                NEW.api_definition_id, NEW.event_definition_id, coalesce(last.number, 0) + 1, NEW.type, NEW.format,
                NEW.data, fingerprint, octet_length(NEW.data)
            );
        END IF;
        RETURN NULL;
    END
    $$;
CREATE TRIGGER keep_revision AFTER INSERT OR UPDATE OF data ON spec
    FOR EACH ROW WHEN (NEW.data IS NOT NULL) EXECUTE FUNCTION keep_spec_revision_v1();

INSERT INTO spec_revision (api_definition_id, event_definition_id, number, type, format, data, digest, size)
SELECT api_definition_id, event_definition_id, 1, type, format, data, sha256(convert_to(data, 'UTF8')), octet_length(data)
FROM spec WHERE data IS NOT NULL;
