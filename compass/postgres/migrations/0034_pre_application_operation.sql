-- Why: applications are registered, unpaired and unregistered in the background; meanwhile nothing else may begin on them.
-- Old code: unaffected, the column has a default; it knows nothing of it, so it does not refuse what should wait.
-- Lock: ACCESS EXCLUSIVE on application for milliseconds, no rewrite.
SET LOCAL lock_timeout = '2s';

ALTER TABLE application ADD COLUMN under_way text;
COMMENT ON COLUMN application.under_way IS 'the kind of the unfinished operation on it, set and cleared together with that; null: none, it may be used';
