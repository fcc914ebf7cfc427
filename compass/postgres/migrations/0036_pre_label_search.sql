-- Why: an index of label values that keeps new entries in a list of their own makes every search read that list; it may
--   grow to megabytes before it is sorted in, and a search for one label then takes ten milliseconds instead of one.
-- Old code: unaffected.
-- Lock: SHARE UPDATE EXCLUSIVE on the two indexes for milliseconds.
ALTER INDEX application_label_finds_value SET (fastupdate = off);
ALTER INDEX runtime_label_finds_value SET (fastupdate = off);
