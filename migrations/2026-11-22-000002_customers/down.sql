DROP VIEW customer_list;
DROP TABLE customers;
