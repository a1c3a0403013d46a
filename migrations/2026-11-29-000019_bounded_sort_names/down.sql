-- What was cut is made anew when a customer is next written.
COMMENT ON COLUMN customers.sort_name IS 'business_name without case and accents, for ordering; made by the service.';
