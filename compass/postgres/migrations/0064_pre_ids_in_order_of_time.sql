-- Why: ids drawn at random put neighbours of a list anywhere in the table and its indexes: a page of 200 of 100,000 rows
--   touches 200 pages of the disk where 5 would do, and every new row dirties another page of every index. See docs/adr/0026.
-- Old code: inserts without an id get the new kind; ids it draws itself are as good as before.
-- Lock: ACCESS EXCLUSIVE on every table for the moment that a default takes, none is rewritten.
SET LOCAL lock_timeout = '2s';

-- The time in milliseconds, twelve bits of what is left of it, 62 random bits. `compass/ids.py` draws the same.
-- Source: RFC 9562 §5.7, and §6.2 method 3.
CREATE FUNCTION new_id_v1() RETURNS uuid LANGUAGE plpgsql VOLATILE PARALLEL SAFE AS $$
DECLARE
    microseconds bigint := extract(epoch FROM clock_timestamp()) * 1000000;
    beginning bigint := (microseconds / 1000 << 16) | 28672 | ((microseconds % 1000) * 4096 / 1000); -- 0x7000: version 7
BEGIN
    RETURN encode(overlay(uuid_send(gen_random_uuid()) PLACING int8send(beginning) FROM 1 FOR 8), 'hex')::uuid;
END
$$;

DO $$
DECLARE
    place record;
BEGIN
    FOR place IN
        SELECT attribute.attrelid::regclass AS of_table, attribute.attname AS of_column
        FROM pg_attrdef
            JOIN pg_attribute AS attribute ON attribute.attrelid = adrelid AND attribute.attnum = adnum
            JOIN pg_class ON pg_class.oid = adrelid
        WHERE pg_class.relnamespace = current_schema()::regnamespace
            AND pg_get_expr(adbin, adrelid) = 'gen_random_uuid()'
        ORDER BY pg_class.relname
    LOOP
        EXECUTE format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT new_id_v1()', place.of_table, place.of_column);
    END LOOP;
END
$$;
