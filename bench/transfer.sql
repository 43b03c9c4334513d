\set from random(1, 1000)
\set to (:from + random(1, 998)) % 1000 + 1
\set amount random(1, 10)
CALL cs_transfer('accounts', :from::text, :to::text, :amount);
