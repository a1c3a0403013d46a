-- One customer by its key, with the columns that GetCustomer answers, in one flight with the tenant.
\set number random(1, @count@)
\startpipeline
BEGIN;
SET LOCAL ROLE crm_app;
SET LOCAL app.tenant_id = '@tenant@';
SELECT id, business_name, sort_name, slug, contact_name, email, phone, website, address, industry_category, size,
    status, source, owner, tags, external_ids, business_context, brand_voice, content_preferences, custom_attributes,
    deleted_at, created_at, updated_at, revision
FROM customers
WHERE tenant_id = '@tenant@' AND id = ('@prefix@' || lpad(to_hex(:number::bigint), 16, '0'))::uuid;
COMMIT;
\endpipeline
