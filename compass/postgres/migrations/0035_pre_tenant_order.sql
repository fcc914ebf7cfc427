-- Why: a page of tenants is read in the order of their names; without an index every page sorts all of them.
-- Old code: unaffected.
-- Lock: SHARE on tenant while the index is built; tenants are few.
CREATE INDEX tenant_in_order ON tenant (name, id) WHERE status = 'Active';
