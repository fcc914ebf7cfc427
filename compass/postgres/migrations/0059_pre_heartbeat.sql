-- Why: agents of runtimes say that they live and what they have taken over; what a runtime has still to take over is found
--   by the newest events about what it sees.
-- Old code: unaffected, the table is new and nobody reads it; events are written as before.
-- Lock: SHARE on outbox_event and formation_assignment while their indexes are built, about two seconds per million events
--   of a week.
SET LOCAL lock_timeout = '2s';

CREATE TABLE heartbeat (
    runtime_id uuid PRIMARY KEY REFERENCES runtime ON DELETE CASCADE,
    seen_at timestamptz NOT NULL,
    missed_from timestamptz NOT NULL,
    version text NOT NULL,
    revision bigint NOT NULL,
    applications integer NOT NULL,
    synced_at timestamptz,
    looks_every interval NOT NULL,
    trouble text,
    error text,
    CHECK (missed_from > seen_at),
    CHECK ((trouble IS NULL) = (error IS NULL))
    -- Written every few seconds, no index has any of it but the key: half a page stays free for the next versions.
) WITH (fillfactor = 50);
COMMENT ON TABLE heartbeat IS 'what the agent of a runtime said last, and when; one row, written over and over';
COMMENT ON COLUMN heartbeat.missed_from IS 'the next one should have come by then';
COMMENT ON COLUMN heartbeat.revision IS 'of the configuration that is in use there; counted by the agent';
COMMENT ON COLUMN heartbeat.synced_at IS 'when its last good look at the plane began: it has taken over what was committed before';
COMMENT ON COLUMN heartbeat.looks_every IS 'how often it looks at the plane, told of a change or not';
COMMENT ON COLUMN heartbeat.trouble IS 'the kind of failure, when its last look failed';
SELECT keep_to_tenants_v1('heartbeat', 'reaches_runtime_v1(runtime_id)', may => 'SELECT');

-- About which application, group or runtime an event is; that of an application first.
CREATE FUNCTION about_v1(facts jsonb) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS $$ SELECT coalesce(facts ->> 'application', facts ->> 'formation', facts ->> 'runtime') $$;
CREATE INDEX outbox_event_about ON outbox_event (about_v1(facts), happened_at);

-- What follows looks at tables that callers may not look at, with their owner's eyes, and tells a moment or a state of them.
CREATE FUNCTION untaken_since_v1(of_runtime uuid, synced_at timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    -- When the first change happened, of what a runtime is to see, that it has not taken over; null when it has all of them.
    -- The names are of events about the same objects of which runtimes are not told: see director/change.py.
    AS $$
    BEGIN
        RETURN (
            SELECT min(event.happened_at)
            FROM (
                SELECT of_runtime::text
                UNION ALL
                SELECT shared.source::text FROM formation_assignment shared
                WHERE shared.target = of_runtime AND shared.source_type = 'APPLICATION'
                UNION ALL
                SELECT member.formation_id::text FROM formation_assignment member
                WHERE member.target = of_runtime AND member.source = of_runtime
            ) AS seen (object)
            JOIN outbox_event event ON about_v1(event.facts) = seen.object
                AND event.happened_at > untaken_since_v1.synced_at
            WHERE event.name NOT IN (
                'BundleInstanceAuthChanged', 'FormationCreated', 'FormationDeleting', 'FormationDeleted',
                'FormationResynchronized', 'FormationAssignmentResynchronized'
            )
        );
    END
    $$;

CREATE FUNCTION newest_event_v1() RETURNS timestamptz
    LANGUAGE sql STABLE SECURITY DEFINER
    -- Of several at the same time the id given last need not be of the latest. Whoever looked after it has missed nothing.
    AS $$
    SELECT max(latest.happened_at) FROM (SELECT happened_at FROM outbox_event ORDER BY id DESC LIMIT 100) AS latest
    $$;

CREATE FUNCTION former_authorities_v1() RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER
    -- The states of those that sign no more, by serial.
    AS $$
    SELECT coalesce(jsonb_object_agg(serial, state), '{}') FROM authority WHERE state IN ('replaced', 'retired', 'aborted')
    $$;

CREATE FUNCTION span_v1(span interval) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    -- For people, in the largest unit that says something.
    AS $$
    SELECT CASE
        WHEN span < interval '2 minutes' THEN greatest(0, extract(epoch FROM span)::bigint) || ' s'
        WHEN span < interval '2 hours' THEN (extract(epoch FROM span) / 60)::bigint || ' min'
        WHEN span < interval '2 days' THEN (extract(epoch FROM span) / 3600)::bigint || ' h'
        ELSE (extract(epoch FROM span) / 86400)::bigint || ' d'
    END
    $$;

DO $$
    DECLARE
        one text;
    BEGIN
        FOREACH one IN ARRAY ARRAY['untaken_since_v1', 'newest_event_v1', 'former_authorities_v1'] LOOP
            EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', one, current_schema());
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one);
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', one, tenant_role_v1());
        END LOOP;
    END
    $$;

-- Whoever is not paired by us may be known by a certificate of another authority.
CREATE INDEX certificate_subject_mapping_of_object ON certificate_subject_mapping (internal_consumer_id)
    WHERE internal_consumer_id IS NOT NULL;

-- What failed is looked for among what did not, which is a thousand times as much.
CREATE INDEX formation_assignment_failed ON formation_assignment (target) WHERE state IN ('CREATE_ERROR', 'DELETE_ERROR');
