DROP VIEW customer_list;
DROP TABLE customer_external_ids;
DROP TABLE customers;
