-- The role stays: other databases of the cluster may use it.
REVOKE USAGE ON SCHEMA public FROM crm_app;
DROP TABLE idempotency_keys;
DROP TABLE service_keys;
DROP FUNCTION current_tenant();
