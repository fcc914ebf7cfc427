-- Why: requests for credentials and webhooks are listed for those who look after them, newest first, whosever they are.
-- Old code: unaffected.
-- Lock: SHARE on bundle_instance_auth and webhook while their indexes are built, which have few rows per application.
SET LOCAL lock_timeout = '2s';
CREATE INDEX bundle_instance_auth_in_order ON bundle_instance_auth (created_at DESC, id);
CREATE INDEX webhook_in_order ON webhook (created_at DESC, id);
