-- Why: a pair of a group waits until every webhook of its target agreed; what each of them agreed to is kept meanwhile.
-- Old code: unaffected by itself. While old and new run side by side, a webhook that agreed to the new one has not
--   answered yet for the old one, so a pair may wait until it is told anew.
-- Lock: ACCESS EXCLUSIVE on formation_assignment_delivery for milliseconds; the check reads its rows, which are few.
SET LOCAL lock_timeout = '2s';

ALTER TABLE formation_assignment_delivery
    ADD COLUMN agreed_to text CHECK (agreed_to IN ('READY', 'CONFIG_PENDING'));
COMMENT ON TABLE formation_assignment_delivery IS 'notifications about a pair of a group, while not all webhooks of its target agreed';
COMMENT ON COLUMN formation_assignment_delivery.agreed_to IS 'null: not taken yet, refused, given up, or taken by who reports later';
