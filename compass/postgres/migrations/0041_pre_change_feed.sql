-- Why: the change feed hands events out in an order in which none can appear later before one that was read: that of
--   the transactions that wrote them, as far as the oldest that still runs. Ids are given before the commit and are no
--   such order. And a reader that comes back must be told when events that it has not read were forgotten.
-- Old code: unaffected, the column has a default; what it purges is not noted, so that a reader older than a week may
--   not be told.
-- Lock: ACCESS EXCLUSIVE on outbox_event while the index is built, about a second per million events of a week; no rewrite.
SET LOCAL lock_timeout = '2s';

-- Zero for those that are there: older than any transaction that will ever run.
ALTER TABLE outbox_event ADD COLUMN xid xid8 NOT NULL DEFAULT '0';
ALTER TABLE outbox_event ALTER COLUMN xid SET DEFAULT pg_current_xact_id();
COMMENT ON COLUMN outbox_event.xid IS 'the transaction that wrote it; with the id its position in the change feed';
CREATE INDEX outbox_event_in_order ON outbox_event (xid, id);

CREATE TABLE outbox_forgotten (
    alone boolean PRIMARY KEY DEFAULT true CHECK (alone),
    xid xid8 NOT NULL,
    id bigint NOT NULL
);
INSERT INTO outbox_forgotten (xid, id) VALUES ('0', 0);
COMMENT ON TABLE outbox_forgotten IS 'the last position of the change feed whose event was purged; whoever comes back from before it has missed something';
