-- Why: who looks after the plane sees of every replica how much it does and how much of what it has is in use, whichever of
--   them answers: each says so in the row in which it says that it lives.
-- Old code: unaffected, the column is nullable; what it says of itself has none.
-- Lock: ACCESS EXCLUSIVE on authority_replica for milliseconds; it has a row per process.
SET LOCAL lock_timeout = '2s';
ALTER TABLE authority_replica ADD COLUMN gauges jsonb;
COMMENT ON COLUMN authority_replica.gauges IS 'how busy it is, as of seen_at; null for an older release; see compass/gauges.py';
