# cs_wait_graph: who waits for whom, over keys, rows and prepared transactions,
# and the same as a graph in the DOT language, whatever the names in it.

use strict;
use warnings FATAL => 'all';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run;
use KeyTest;
use Test::More;

my $node = new_node('main', 'max_prepared_transactions = 5');
$node->safe_psql('postgres', q{CREATE TABLE stock (id int PRIMARY KEY, n int); INSERT INTO stock VALUES (1, 5)});
my $watcher = KeyTest::Session->new($node, name => 'watcher');

# An edge for each row, by the names of the sessions.
my $edges = q{SELECT concat_ws(' ', application_name, '->', coalesce(blocked_by_application_name, blocked_by::text),
		locktype, coalesce(quote_literal(key), '-'), mode, 'held:', coalesce(blocked_by_mode, '-'))
	FROM cs_wait_graph() ORDER BY 1};

# Reads the graph line by line, as strictly as Graphviz does: returns the labels
# of the nodes, "p1", and of the edges, "p1 -> p2".
sub parse_dot
{
	my ($dot) = @_;
	my @lines = split /\n/, $dot;
	my (%nodes, %edges, @strange);

	is(join(' ', shift @lines, pop @lines), 'digraph waits { }', 'a graph');
	foreach (@lines)
	{
		if (/^ +(p\d+( -> p\d+)?) \[label="((?:[^"\\]|\\.)*)"\];$/)
		{
			my ($name, $is_edge, $label) = ($1, $2, $3);

			$label =~ s/\\(.)/$1 eq 'n' ? "\n" : $1/eg;
			($is_edge ? \%edges : \%nodes)->{$name} = $label;
		}
		elsif (!/^ +(?:rankdir=LR|(?:node|edge) \[(?:shape=box, )?fontname="Helvetica"\]);$/)
		{
			push @strange, $_;
		}
	}
	is_deeply(\@strange, [], 'of nodes and edges');
	return (\%nodes, \%edges);
}

my $session_of_dot = KeyTest::Session->new($node, name => 'dot');

sub graph
{
	my $dot = $session_of_dot->query('SELECT cs_wait_graph_dot()');

	SKIP:
	{
		my $picture;
		my $works = eval { IPC::Run::run([ 'dot', '-Tsvg' ], '<', \$dot, '>', \$picture, '2>&1') };

		skip 'Graphviz is not installed', 1 if !defined $works;
		like($picture, qr/<\/svg>/, 'Graphviz draws it');
	}
	return parse_dot($dot);
}

my ($nodes, $arrows) = graph();
is(scalar(%$nodes) + scalar(%$arrows), 0, 'an empty graph where nobody waits');
is($watcher->query($edges), '', 'and no rows');

# a holds key 1; b holds key 2 and waits for key 1; c holds a row and waits for
# key 2; d waits for the row; e waits for key 1, behind b.
my %session = map { $_ => KeyTest::Session->new($node, name => $_) } 'a' .. 'e';
$session{a}->query_safe(q{BEGIN; SELECT cs_lock('key 1'), cs_lock('key 1', mode => 'S')});
$session{b}->query_safe(q{BEGIN; SELECT cs_lock('key 2', mode => 'S')});
$session{b}->start_waiting(q{SELECT cs_lock('key 1', -1)});
$session{c}->query_safe(q{BEGIN; UPDATE stock SET n = n - 1});
$session{c}->start_waiting(q{SELECT cs_lock('key 2', -1, 'IX')});
$session{d}->start_waiting(q{UPDATE stock SET n = n + 1});
$session{e}->start_waiting(q{SELECT cs_lock('key 1', -1, 'IS')});
is( $watcher->query($edges), join("\n",
		q{b -> a advisory 'key 1' exclusive held: exclusive, shared},
		q{c -> b advisory 'key 2' intent exclusive held: shared},
		q{d -> c transactionid - ShareLock held: -},
		q{e -> a advisory 'key 1' intent shared held: exclusive, shared},
		q{e -> b advisory 'key 1' intent shared held: -}),
	'a chain of keys and a row, and two who wait for one key');
is( $watcher->query(q{SELECT bool_and(role = current_user AND blocked_by_role = current_user
		AND waiting_for >= interval '0' AND query ~ '^(SELECT|UPDATE)' AND blocked_by_query ~ '^(SELECT|UPDATE|BEGIN)')
		FROM cs_wait_graph()}), 't', 'with what is known of the sessions');
is( $watcher->query(q{SELECT count(*) FROM cs_wait_graph() g
		WHERE g.blocked_by <> ALL (pg_blocking_pids(g.pid)) OR g.pid = ANY (pg_blocking_pids(g.blocked_by))}),
	'0', 'as pg_blocking_pids says');
($nodes, $arrows) = graph();
my $role = $watcher->query('SELECT current_user');
is_deeply($nodes, { map { ("p$session{$_}{pid}" => "$session{$_}{pid}\n$role\n$_") } 'a' .. 'e' },
	'a node for each session');
is_deeply([ sort keys %$arrows ],
	[ sort map { "p$session{$_->[0]}{pid} -> p$session{$_->[1]}{pid}" }
		[ 'b', 'a' ], [ 'c', 'b' ], [ 'd', 'c' ], [ 'e', 'a' ] ],
	'and an arrow for each wait, but not to one who waits for the same key');
like($arrows->{"p$session{c}{pid} -> p$session{b}{pid}"}, qr/^key 2\nintent exclusive\n\d+ ms$/, 'which tells for what and how long');
$session{$_}->query_safe('COMMIT') foreach 'a' .. 'c';
$session{$_}->finish foreach 'd', 'e';
is($watcher->query($edges), '', 'nobody waits any more');

# A prepared transaction.
$session{a}->query_safe(q{BEGIN; SELECT cs_lock('key 1'); PREPARE TRANSACTION 'first'});
$session{b}->start_waiting(q{SELECT cs_lock('key 1', -1, 'S')});
is($watcher->query($edges), q{b -> 0 advisory 'key 1' shared held: exclusive}, 'a prepared transaction is 0');
($nodes, $arrows) = graph();
is($nodes->{p0}, 'prepared transaction', 'and has a node');
is(join(', ', keys %$arrows), "p$session{b}{pid} -> p0", 'and an arrow');
$session{c}->query_safe(q{COMMIT PREPARED 'first'});
$session{b}->finish;
$_->quit foreach values %session;

# Names that could break the graph.
my $key = q{"]; p1 -> p2 [label="\"\\\\"; // \n <b> {|} '};
my $nasty_role = qq{role "];\\\nend};
my $application = q{a"b\c\"d\\\\};
$node->safe_psql('postgres', sprintf 'CREATE ROLE "%s" LOGIN', $nasty_role =~ s/"/""/gr);
my ($holder, $waiter) =
  map { KeyTest::Session->new($node, user => sprintf q{'%s'}, $nasty_role =~ s/\\/\\\\/gr) } 1 .. 2;
$_->query_safe(qq{SET application_name = \$\$$application\$\$}) foreach $holder, $waiter;
$holder->query_safe(qq{BEGIN; SELECT cs_lock(\$\$$key\$\$ || E'\\n\\r\\x1b]')});
$waiter->start_waiting(qq{SELECT cs_lock(\$\$$key\$\$ || E'\\n\\r\\x1b]', -1)});
($nodes, $arrows) = graph();
is_deeply($nodes,
	{ map { ("p$_->{pid}" => "$_->{pid}\n$nasty_role\n$application") } $holder, $waiter },
	'nodes with nasty names');
is(join(', ', keys %$arrows), "p$waiter->{pid} -> p$holder->{pid}", 'and one arrow');
like((values %$arrows)[0], qr/^\Q$key\E\\n\\r\\x1b\]\nexclusive\n\d+ ms$/, 'with a nasty label');
$holder->query_safe('COMMIT');
$waiter->finish;

$_->quit foreach $holder, $waiter, $watcher, $session_of_dot;
$node->stop;
done_testing();
