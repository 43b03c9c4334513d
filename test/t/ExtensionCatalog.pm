# What the catalogs say of an extension, as text that is the same wherever the same
# was installed: without OIDs, sorted, a line for each fact. For comparing what two
# ways of installing an extension make of it.

package ExtensionCatalog;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';

our @EXPORT = qw($catalog differences);

# Rights are compared as what they allow: no list is the same as the default one.
our $catalog = q{
SET LOCAL search_path = pg_catalog;
CREATE FUNCTION pg_temp.rights(acl aclitem[]) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(format('%s by %s%s to %s', a.privilege_type, a.grantor::regrole,
			CASE WHEN a.is_grantable THEN ' with grant option' END,
			CASE a.grantee WHEN 0 THEN 'public' ELSE a.grantee::regrole::text END), ', '
		ORDER BY a.grantee::regrole::text, a.privilege_type, a.grantor::regrole::text), 'none')
	FROM aclexplode(acl) AS a $$;
WITH extension AS (
	SELECT * FROM pg_extension WHERE extname = 'concurrency_safe'
), member AS MATERIALIZED (
	SELECT d.classid, d.objid, i.type || ' ' || i.identity AS name
	FROM extension AS e
	JOIN pg_depend AS d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
	CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) AS i
), routine AS (
	SELECT m.name, p.* FROM member AS m JOIN pg_proc AS p ON m.classid = 'pg_proc'::regclass AND p.oid = m.objid
), relation AS (
	SELECT m.name, c.* FROM member AS m JOIN pg_class AS c ON m.classid = 'pg_class'::regclass AND c.oid = m.objid
), fact (fact) AS (
	SELECT format('extension: in %s, relocatable %s, owner %s', extnamespace::regnamespace, extrelocatable, extowner::regrole)
	FROM extension
	UNION ALL
	SELECT format('dumped: %s where %L', t.oid::regclass, t.condition)
	FROM extension AS e, unnest(e.extconfig, e.extcondition) AS t (oid, condition)
	UNION ALL
	SELECT name FROM member
	UNION ALL
	-- What this query does not describe would pass unseen. Arrays of our types are members since PostgreSQL 17.
	SELECT format('%s: ExtensionCatalog.pm does not know this kind of object', name) FROM member
	WHERE classid NOT IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_type'::regclass, 'pg_namespace'::regclass)
		OR classid = 'pg_type'::regclass
			AND objid NOT IN (SELECT oid FROM pg_type WHERE typtype IN ('c', 'e') OR typcategory = 'A')
	UNION ALL
	SELECT format('%s, comment%s: %s', m.name, ' on column ' || nullif(d.objsubid, 0), d.description)
	FROM member AS m JOIN pg_description AS d ON d.classoid = m.classid AND d.objoid = m.objid
	UNION ALL
	SELECT format('%s, first rights%s: %s', m.name, ' on column ' || nullif(i.objsubid, 0), pg_temp.rights(i.initprivs))
	FROM member AS m JOIN pg_init_privs AS i ON i.classoid = m.classid AND i.objoid = m.objid
	UNION ALL
	SELECT format('%s: needs %s', m.name, d.needed)
	FROM member AS m JOIN LATERAL (
		SELECT DISTINCT i.type || ' ' || i.identity AS needed
		FROM pg_depend AS d, pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) AS i
		WHERE d.classid = m.classid AND d.objid = m.objid AND d.deptype <> 'e') AS d ON true
	UNION ALL
	SELECT format(E'%s: owner %s, rights %s\n%s', name, proowner::regrole,
		pg_temp.rights(coalesce(proacl, acldefault('f', proowner))), pg_get_functiondef(oid))
	FROM routine
	UNION ALL
	SELECT format('%s: owner %s, kind %s, persistence %s, options %s, row security %s %s, rights %s', name,
		relowner::regrole, relkind, relpersistence, reloptions, relrowsecurity, relforcerowsecurity,
		pg_temp.rights(coalesce(relacl, acldefault('r', relowner))))
	FROM relation
	UNION ALL
	SELECT format(E'%s:\n%s', name, pg_get_viewdef(oid)) FROM relation WHERE relkind = 'v'
	UNION ALL
	SELECT format('%s, column %s %I %s: not null %s, collation %s, default %s, storage %s, rights %s', r.name, a.attnum,
		a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, nullif(a.attcollation, 0)::regcollation,
		pg_get_expr(d.adbin, d.adrelid), a.attstorage, pg_temp.rights(a.attacl))
	FROM relation AS r
	JOIN pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
	LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	UNION ALL
	SELECT format('%s, constraint %I: %s, comment %s', r.name, c.conname, pg_get_constraintdef(c.oid),
		obj_description(c.oid, 'pg_constraint'))
	FROM relation AS r JOIN pg_constraint AS c ON c.conrelid = r.oid
	UNION ALL
	SELECT format('%s, index: %s, comment %s', r.name, pg_get_indexdef(i.indexrelid), obj_description(i.indexrelid, 'pg_class'))
	FROM relation AS r JOIN pg_index AS i ON i.indrelid = r.oid
	UNION ALL
	SELECT format('%s, trigger: %s, enabled %s', r.name, pg_get_triggerdef(t.oid), t.tgenabled)
	FROM relation AS r JOIN pg_trigger AS t ON t.tgrelid = r.oid
	UNION ALL
	SELECT format('%s, rule: %s', r.name, pg_get_ruledef(u.oid)) FROM relation AS r JOIN pg_rewrite AS u ON u.ev_class = r.oid
	UNION ALL
	SELECT format('%s, policy %I: %s', r.name, p.polname, pg_get_expr(p.polqual, p.polrelid))
	FROM relation AS r JOIN pg_policy AS p ON p.polrelid = r.oid
	UNION ALL
	SELECT format('%s: owner %s, labels %s, rights %s', m.name, t.typowner::regrole,
		(SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum AS e WHERE e.enumtypid = t.oid),
		pg_temp.rights(coalesce(t.typacl, acldefault('T', t.typowner))))
	FROM member AS m JOIN pg_type AS t ON m.classid = 'pg_type'::regclass AND t.oid = m.objid
	UNION ALL
	SELECT format('%s: owner %s, rights %s', m.name, n.nspowner::regrole,
		pg_temp.rights(coalesce(n.nspacl, acldefault('n', n.nspowner))))
	FROM member AS m JOIN pg_namespace AS n ON m.classid = 'pg_namespace'::regclass AND n.oid = m.objid
)
SELECT string_agg(fact, E'\x01' ORDER BY fact COLLATE "C") FROM fact};

# The facts that only one of two catalogs has: "-" before those of the first, "+" of the second.
sub differences
{
	my ($first, $second) = @_;
	my %count;

	$count{$_}-- foreach split /\x01/, $first;
	$count{$_}++ foreach split /\x01/, $second;
	return map { ($count{$_} < 0 ? '- ' : '+ ') . $_ } grep { $count{$_} } sort keys %count;
}

1;
