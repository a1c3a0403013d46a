-- A page of customers in the order of their names ends at a sort_name, and its token has it. What one character
-- of a name folds to can be eighteen, so that a name within its limit made a token beyond that of tokens. The service
-- keeps 320 bytes of it, in whole characters; those that are there are cut likewise. Names that are equal as far
-- as this goes are ordered by id, as equal names are.
UPDATE customers
SET sort_name = left(sort_name, (
    SELECT max(length) FROM generate_series(80, 320) AS length
    WHERE octet_length(left(sort_name, length)) <= 320
))
WHERE octet_length(sort_name) > 320;

COMMENT ON COLUMN customers.sort_name IS 'The first 320 bytes of business_name without case and accents, for ordering; made by the service.';
