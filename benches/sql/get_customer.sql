-- One customer by its key, with the columns that GetCustomer answers, in one flight with the tenant.
\set number random(1, @count@)
\startpipeline
BEGIN;
SET LOCAL ROLE crm_app;
SET LOCAL app.tenant_id = '@tenant@';
SELECT @columns@
FROM customers
WHERE tenant_id = '@tenant@' AND id = ('@prefix@' || lpad(to_hex(:number::bigint), 16, '0'))::uuid;
COMMIT;
\endpipeline
