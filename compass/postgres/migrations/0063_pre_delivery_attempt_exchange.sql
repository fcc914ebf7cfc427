-- Why: two attempts of a delivery are told apart by where they went and by the headers of both sides, not by the answer's
--   text alone.
-- Old code: unaffected; its attempts have none of this, which is shown as not kept.
-- Lock: ACCESS EXCLUSIVE on delivery_attempt for milliseconds; no rewrite, no scan.
SET LOCAL lock_timeout = '2s';
ALTER TABLE delivery_attempt
    ADD COLUMN url text,
    ADD COLUMN request_headers jsonb,
    ADD COLUMN response_headers jsonb;
COMMENT ON COLUMN delivery_attempt.url IS 'where it went, without the query; null when it came to no call';
COMMENT ON COLUMN delivery_attempt.request_headers IS 'name and value of each; the value of one that may be secret was never written down';
COMMENT ON COLUMN delivery_attempt.response_headers IS 'as request_headers; null when there was no answer';
