-- Why: a receiver that is being repaired or moved need not be called meanwhile, and is to miss nothing: what it is to be told
--   waits until its webhook is resumed.
-- Old code: unaffected, the column is nullable; a process of an older release goes on to call a paused webhook.
-- Lock: ACCESS EXCLUSIVE on webhook for milliseconds; SHARE while the index is built, which holds nothing yet.
SET LOCAL lock_timeout = '2s';
ALTER TABLE webhook ADD COLUMN paused_at timestamptz;
COMMENT ON COLUMN webhook.paused_at IS 'since when it is not called; null = it is';
CREATE INDEX webhook_paused ON webhook (id) WHERE paused_at IS NOT NULL;
