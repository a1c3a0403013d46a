DROP TABLE reindexing;
COMMENT ON COLUMN interest_events.subject_key IS 'The subject without case and needless white space; made by the service.';
