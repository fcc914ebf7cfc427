-- Why: the agent of a runtime that was put to sleep is silent on purpose, and is not to be missed.
-- Old code: unaffected, the column is nullable; it goes on to call such an agent missing.
-- Lock: ACCESS EXCLUSIVE on heartbeat for milliseconds; no rewrite, no scan.
SET LOCAL lock_timeout = '2s';

ALTER TABLE heartbeat ADD COLUMN asleep_since timestamptz;
COMMENT ON COLUMN heartbeat.asleep_since IS 'the Provisioner put the runtime to sleep then; null while it is to be awake';
