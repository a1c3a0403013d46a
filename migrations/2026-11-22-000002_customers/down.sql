DROP VIEW customer_search;
DROP TABLE customers;
