-- Why: an operator sees which clients have the authorities of a rotation, and which would be cut off at its end; event
--   endpoints of runtimes get a certificate of the new authority.
-- Old code: unaffected, the columns are nullable and nothing of it reads them.
-- Lock: ACCESS EXCLUSIVE on certificate and cluster for milliseconds; no rewrite, no scan.
SET LOCAL lock_timeout = '2s';

ALTER TABLE certificate ADD COLUMN knows_authorities text;
COMMENT ON COLUMN certificate.knows_authorities IS 'version of the trusted authorities that its holder last said it keeps; null for clients that do not follow them';

ALTER TABLE cluster ADD COLUMN certificate_signed_by text;
COMMENT ON COLUMN cluster.certificate_signed_by IS 'serial of the authority that signed the certificate of the event endpoint; null for one made by an older release';
