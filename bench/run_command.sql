CALL cs_run('withdraw', 'UPDATE account SET balance = balance - $2::numeric WHERE id = $1::integer AND balance >= $2::numeric', '{1,1}');
