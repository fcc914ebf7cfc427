-- Why: the agent of a runtime that was put to sleep is silent on purpose, and is not to be missed.
-- Old code: unaffected, the column is nullable; it goes on to call such an agent missing.
-- Lock: ACCESS EXCLUSIVE on runtime for milliseconds; no rewrite, no scan.
SET LOCAL lock_timeout = '2s';

ALTER TABLE runtime ADD COLUMN asleep_since timestamptz;
COMMENT ON COLUMN runtime.asleep_since IS 'the Provisioner put it to sleep then; null while it is to be awake';
