-- Why: a second lock under what callers change: their transactions run in a role of their own, which the database lets
--   reach the rows of the caller's tenants and no others. Here the role, and what its policies ask.
-- Old code: unaffected; it does not take the role, and the counts are kept as before.
-- Lock: none that matters on tables. It fails where the plane's own role may neither make roles nor is a member of this
--   one; docs/guide/operate.md, "A PostgreSQL of yours", says what to create.
SET LOCAL lock_timeout = '2s';

CREATE FUNCTION tenant_role_v1() RETURNS name
    LANGUAGE sql STABLE
    -- Beside the role that owns the tables, so that planes of different owners in one PostgreSQL share nothing.
    AS $$ SELECT (left(current_user, 56) || '_tenant')::name $$;

DO $$
    DECLARE
        wanted name := tenant_role_v1();
        is_16 boolean := current_setting('server_version_num')::integer >= 160000;
        may_make boolean := (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user);
    BEGIN
        -- Roles belong to all databases of a server: another plane of the same owner may be doing this at the moment.
        IF may_make AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN NOINHERIT', wanted);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = wanted)
            AND NOT pg_has_role(current_user, wanted, CASE WHEN is_16 THEN 'SET' ELSE 'MEMBER' END) THEN
            BEGIN
                EXECUTE format(
                    'GRANT %I TO CURRENT_USER %s', wanted, CASE WHEN is_16 THEN 'WITH INHERIT FALSE, SET TRUE' END
                );
            EXCEPTION WHEN insufficient_privilege OR unique_violation OR internal_error THEN
                NULL;
            END;
        END IF;
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted)
            OR NOT pg_has_role(current_user, wanted, CASE WHEN is_16 THEN 'SET' ELSE 'MEMBER' END) THEN
            RAISE EXCEPTION 'the role % is missing, and % may not make it; have an administrator run: CREATE ROLE % NOLOGIN; GRANT % TO %',
                quote_ident(wanted), quote_ident(current_user), quote_ident(wanted), quote_ident(wanted),
                quote_ident(current_user);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), wanted);
    END
    $$;

-- For whom the transaction runs: set together with the role when it begins. None at all is no tenant.
CREATE FUNCTION current_tenants_v1() RETURNS uuid[]
    LANGUAGE sql STABLE PARALLEL SAFE
    AS $$ SELECT coalesce(nullif(current_setting('compass.tenants', true), ''), '{}')::uuid[] $$;

CREATE FUNCTION reach_up_from_v1(tenant uuid) RETURNS text
    LANGUAGE sql VOLATILE STRICT
    -- From here to its end the transaction runs for this tenant and its ancestors.
    AS $$ SELECT set_config('compass.tenants', ARRAY(SELECT tenant_and_ancestors_v1(tenant))::text, true) $$;

-- What follows answers with the eyes of the tables' owner, so that a policy may look at a table that has one itself,
-- and so that it can tell a row of another tenant from no row. What is not there is nobody else's: rows that one
-- statement writes together do not see each other, and their foreign keys see to it that none stays without its parent.

-- Nobody brings into its group what it does not reach; once it is in, the group's owner reaches it until it left.
CREATE FUNCTION in_own_group_v1(participant uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN EXISTS (
            SELECT FROM formation_assignment self JOIN formation ON formation.id = self.formation_id
            WHERE self.source = participant AND self.target = participant
                AND formation.tenant_id = ANY (current_tenants_v1())
        );
    END
    $$;

-- Most of what a transaction looks at belongs to one application or runtime: the last one that was found is remembered
-- until the transaction ends, so that of hundreds of rows one is looked up.
CREATE FUNCTION finds_application_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM application_tenant WHERE tenant_id = ANY (current_tenants_v1()) AND application_id = wanted
        ) OR NOT EXISTS (
            SELECT FROM application WHERE id = wanted AND tenant_id <> ALL (current_tenants_v1())
        ) THEN
            PERFORM set_config('compass.application', wanted::text, true);
            RETURN true;
        END IF;
        RETURN in_own_group_v1(wanted);
    END
    $$;

CREATE FUNCTION reaches_application_v1(wanted uuid) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$ SELECT coalesce(current_setting('compass.application', true), '') = wanted::text OR finds_application_v1(wanted) $$;

CREATE FUNCTION finds_runtime_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM runtime_tenant WHERE tenant_id = ANY (current_tenants_v1()) AND runtime_id = wanted
        ) OR NOT EXISTS (
            SELECT FROM runtime WHERE id = wanted AND tenant_id <> ALL (current_tenants_v1())
        ) THEN
            PERFORM set_config('compass.runtime', wanted::text, true);
            RETURN true;
        END IF;
        RETURN in_own_group_v1(wanted);
    END
    $$;

CREATE FUNCTION reaches_runtime_v1(wanted uuid) RETURNS boolean
    LANGUAGE sql STABLE
    AS $$ SELECT coalesce(current_setting('compass.runtime', true), '') = wanted::text OR finds_runtime_v1(wanted) $$;

CREATE FUNCTION reaches_runtime_context_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN coalesce((SELECT reaches_runtime_v1(runtime_id) FROM runtime_context WHERE id = wanted), true)
            OR in_own_group_v1(wanted);
    END
    $$;

CREATE FUNCTION reaches_bundle_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN coalesce((SELECT reaches_application_v1(application_id) FROM bundle WHERE id = wanted), true);
    END
    $$;

CREATE FUNCTION reaches_definition_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN coalesce(
            (SELECT reaches_application_v1(application_id) FROM api_definition WHERE id = wanted),
            (SELECT reaches_application_v1(application_id) FROM event_definition WHERE id = wanted), true
        );
    END
    $$;

CREATE FUNCTION reaches_specified_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN coalesce(
            (SELECT reaches_definition_v1(coalesce(api_definition_id, event_definition_id)) FROM spec WHERE id = wanted),
            (SELECT reaches_application_v1(application_id) FROM document WHERE id = wanted), true
        );
    END
    $$;

CREATE FUNCTION reaches_integration_dependency_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN coalesce(
            (SELECT reaches_application_v1(application_id) FROM integration_dependency WHERE id = wanted), true
        );
    END
    $$;

CREATE FUNCTION reaches_formation_template_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN NOT EXISTS (
            SELECT FROM formation_template
            WHERE id = wanted AND tenant_id IS NOT NULL AND tenant_id <> ALL (current_tenants_v1())
        );
    END
    $$;

CREATE FUNCTION reaches_formation_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN NOT EXISTS (SELECT FROM formation WHERE id = wanted AND tenant_id <> ALL (current_tenants_v1()));
    END
    $$;

-- Participants have no foreign key, so here what is not there is nobody's.
CREATE FUNCTION reaches_participant_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN EXISTS (
                SELECT FROM application_tenant
                WHERE tenant_id = ANY (current_tenants_v1()) AND application_id = wanted
            ) OR EXISTS (
                SELECT FROM runtime_tenant
                WHERE tenant_id = ANY (current_tenants_v1())
                    AND runtime_id = coalesce((SELECT runtime_id FROM runtime_context WHERE id = wanted), wanted)
            ) OR in_own_group_v1(wanted);
    END
    $$;

-- A runtime is known to whose application it shares a group with: it is where that sends its events.
CREATE FUNCTION meets_v1(runtime uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN EXISTS (SELECT FROM formation_assignment WHERE target = runtime AND reaches_participant_v1(source));
    END
    $$;

-- Which runtime is an application's default stands in a label of the runtime, and is the application's all the same.
CREATE FUNCTION reaches_default_v1(key text) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT
    AS $$
    BEGIN
        RETURN key LIKE '%\_defaultEventing' AND reaches_participant_v1(split_part(key, '_', 1)::uuid);
    END
    $$;

CREATE FUNCTION takes_part_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN EXISTS (
            SELECT FROM formation_assignment
            WHERE formation_id = wanted AND source = target AND reaches_participant_v1(source)
        );
    END
    $$;

CREATE FUNCTION reaches_formation_assignment_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN coalesce((
            SELECT reaches_formation_v1(formation_id) OR reaches_participant_v1(source) OR reaches_participant_v1(target)
            FROM formation_assignment WHERE id = wanted
        ), true);
    END
    $$;

CREATE FUNCTION reaches_system_auth_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN coalesce((
            SELECT coalesce(reaches_application_v1(application_id), reaches_runtime_v1(runtime_id), false)
            FROM system_auth WHERE id = wanted
        ), true);
    END
    $$;

CREATE FUNCTION reaches_webhook_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN coalesce((
            SELECT coalesce(
                reaches_application_v1(application_id), reaches_runtime_v1(runtime_id),
                reaches_formation_template_v1(formation_template_id), true
            )
            FROM webhook WHERE id = wanted
        ), true);
    END
    $$;

CREATE FUNCTION reaches_delivery_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN NOT EXISTS (
            SELECT FROM delivery WHERE id = wanted AND NOT coalesce(tenant_id = ANY (current_tenants_v1()), false)
        );
    END
    $$;

CREATE FUNCTION reaches_operation_v1(wanted uuid) RETURNS boolean
    LANGUAGE plpgsql STABLE STRICT SECURITY DEFINER
    AS $$
    BEGIN
        RETURN NOT EXISTS (
            SELECT FROM operation WHERE id = wanted AND NOT coalesce(tenant_id = ANY (current_tenants_v1()), false)
        );
    END
    $$;

-- These write what no caller may: the counts of all tenants that see an object, the end of certificates.
ALTER FUNCTION count_visible_v1() SECURITY DEFINER;
ALTER FUNCTION revoke_with_system_auth_v1() SECURITY DEFINER;

-- What runs with its owner's rights finds its tables where they are, and nowhere that a caller could choose.
DO $$
    DECLARE
        one regprocedure;
    BEGIN
        FOR one IN
            SELECT oid FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace
        LOOP
            EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', one, current_schema());
            EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', one);
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', one, tenant_role_v1());
        END LOOP;
    END
    $$;

-- A view shows what its reader may see.
ALTER VIEW formation_member_v1 SET (security_invoker = true);

-- How a migration puts a table under lock; see compass/postgres/row_security.py for the kinds.

CREATE FUNCTION keep_to_tenants_v1(
    kept regclass, reached text, added text DEFAULT NULL, changed text DEFAULT NULL, seen text DEFAULT 'false',
    may text DEFAULT 'SELECT, INSERT, UPDATE, DELETE', fixed name DEFAULT NULL
)
    RETURNS void
    LANGUAGE plpgsql
    -- Callers change and remove the rows of which `reached` is true, and see besides those of which `seen` is. What they
    -- add must meet `added`, what they make of a row `changed`, or else the one before it. The column `fixed` they never
    -- change; a migration that adds a column beside it has to grant UPDATE of that.
    AS $$
    BEGIN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', kept);
        EXECUTE format('CREATE POLICY plane ON %s TO CURRENT_USER USING (true) WITH CHECK (true)', kept);
        EXECUTE format('CREATE POLICY tenant_sees ON %s FOR SELECT TO %I USING (%s)', kept, tenant_role_v1(),
            CASE WHEN seen = 'false' THEN reached ELSE format('(%s) OR (%s)', reached, seen) END);
        EXECUTE format('CREATE POLICY tenant_adds ON %s FOR INSERT TO %I WITH CHECK (%s)', kept, tenant_role_v1(),
            coalesce(added, reached));
        EXECUTE format('CREATE POLICY tenant_changes ON %s FOR UPDATE TO %I USING (%s) WITH CHECK (%s)', kept,
            tenant_role_v1(), reached, coalesce(changed, added, reached));
        EXECUTE format('CREATE POLICY tenant_removes ON %s FOR DELETE TO %I USING (%s)', kept, tenant_role_v1(), reached);
        EXECUTE format('GRANT %s ON %s TO %I', may, kept, tenant_role_v1());
        IF fixed IS NOT NULL THEN
            EXECUTE format('REVOKE UPDATE ON %s FROM %I', kept, tenant_role_v1());
            EXECUTE format('GRANT UPDATE (%s) ON %s TO %I', (
                SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
                WHERE attrelid = kept AND attnum > 0 AND NOT attisdropped AND attname <> fixed
            ), kept, tenant_role_v1());
        END IF;
    END
    $$;

CREATE FUNCTION show_to_tenants_v1(kept regclass) RETURNS void
    LANGUAGE plpgsql
    -- Callers see all rows and change none; they may hold them (SELECT … FOR SHARE), for which an UPDATE must be allowed.
    AS $$
    BEGIN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', kept);
        EXECUTE format('CREATE POLICY plane ON %s TO CURRENT_USER USING (true) WITH CHECK (true)', kept);
        EXECUTE format('CREATE POLICY all_see ON %s FOR SELECT TO %I USING (true)', kept, tenant_role_v1());
        EXECUTE format('CREATE POLICY all_hold ON %s FOR UPDATE TO %I USING (true) WITH CHECK (false)', kept, tenant_role_v1());
        EXECUTE format('GRANT SELECT, UPDATE ON %s TO %I', kept, tenant_role_v1());
    END
    $$;
