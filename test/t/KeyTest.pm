# What the TAP tests share: a node with the extension, and psql sessions that
# can be left waiting in the middle of a command.

package KeyTest;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw($any_order new_node locks_are locks_become elapsed_ms);

# A setting for tests that lock keys in orders that can deadlock, or one by one, on purpose.
our $any_order = 'concurrency_safe.check_order = off';

# An interrupted test still has to stop its servers: die runs the END blocks.
$SIG{$_} //= sub { die "death by signal $_[0]\n" }
  foreach qw(HUP INT TERM);

# A running node with the extension in database postgres, preloaded; the
# setting "shared_preload_libraries = ''" leaves it to the sessions.
sub new_node
{
	my ($name, @settings) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	$node->init(extra => [ '--no-locale', '--encoding=UTF8' ]);
	$node->append_conf('postgresql.conf', "$_\n")
	  foreach "shared_preload_libraries = 'concurrency_safe'", @settings;
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION concurrency_safe');
	return $node;
}

# The advisory locks of all sessions, "granted,waiting".
my $count_locks = q{SELECT count(*) FILTER (WHERE granted) || ','
	|| count(*) FILTER (WHERE NOT granted) FROM pg_locks WHERE locktype = 'advisory'};

sub locks_are
{
	my ($node, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is($node->safe_psql('postgres', $count_locks), $expected, $name);
	return;
}

# For sessions that end at a moment of their own.
sub locks_become
{
	my ($node, $expected, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($node->poll_query_until('postgres', $count_locks, $expected), $name);
	return;
}

# Runs a query in a session: its time as the server's clock sees it.
sub elapsed_ms
{
	my ($session, $sql) = @_;
	# A statement_timeout of the session may end this, too, where the machine is busy.
	my $clock = sub {
		foreach (1 .. 100)
		{
			my $now = $session->query('SELECT extract(epoch FROM clock_timestamp()) * 1000');

			return $now if $now ne '';
		}
		die "no time: $session->{error}";
	};
	my $start = $clock->();

	$session->query($sql);
	my $error = $session->{error};
	my $elapsed = $clock->() - $start;

	$session->{error} = $error;
	return $elapsed;
}

# One psql, one session. Errors do not stop it.
package KeyTest::Session;

use Carp;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

sub new
{
	my ($class, $node, %params) = @_;
	my $connection = $node->connstr($params{database} // 'postgres')
	  . " application_name=" . ($params{name} // 'session')
	  . ($params{user} ? " user=$params{user}" : '');
	my $self = bless {
		node => $node,
		in => '',
		out => '',
		err => '',
		error => '',
		commands => 0,
		finished => 0,
	}, $class;

	$self->{run} = IPC::Run::start(
		[
			$node->installed_command('psql'), '-XAtq',
			'-v', 'VERBOSITY=verbose',
			'-v', 'ON_ERROR_STOP=0',
			'-d', $connection,
			'-f', '-'
		],
		'<' => \$self->{in},
		'>' => \$self->{out},
		'2>' => \$self->{err},
		$self->{timeout} =
		  IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	$self->{pid} = $self->query('SELECT pg_backend_pid()');
	$self->{pid} =~ /^\d+$/ or croak "no connection: $self->{error}";
	return $self;
}

# Sends commands and does not wait for their end. The last one needs no ';'.
sub start
{
	my ($self, $sql) = @_;
	my $mark = 'end of command ' . ++$self->{commands};

	$self->{timeout}->start;
	$self->{in} .= "$sql\n;\n\\echo '$mark'\n\\warn '$mark'\n";
	$self->{run}->pump_nb;
	return $self;
}

# Waits for the end of what was started; returns what it printed. {error} is
# what it wrote to stderr. The end of the session is an end, too.
sub finish
{
	my ($self) = @_;
	my $mark = qr/end of command $self->{commands}\n/;

	return '' if $self->{finished} == $self->{commands};
	until ($self->{out} =~ $mark && $self->{err} =~ $mark)
	{
		last unless $self->{run}->pumpable;
		eval { $self->{run}->pump; 1 } or do
		{
			die $@ if $@ =~ /timeout/;
			last;
		};
	}

	$self->{finished} = $self->{commands};

	my $output = $self->{out};
	$self->{error} = $self->{err};
	$self->{out} = $self->{err} = '';
	s/$mark// foreach $output, $self->{error};
	chomp $output;
	return $output;
}

sub query
{
	my ($self, $sql) = @_;

	return $self->start($sql)->finish;
}

# As query, for what must not fail.
sub query_safe
{
	my ($self, $sql) = @_;
	my $output = $self->query($sql);

	croak "\"$sql\" failed: $self->{error}" if $self->{error} =~ /ERROR|FATAL/;
	return $output;
}

# The SQLSTATE of the last error, '' if there was none.
sub sqlstate
{
	my ($self) = @_;
	my @states = $self->{error} =~ /(?:ERROR|FATAL):  (\w{5}):/g;

	return $states[-1] // '';
}

# Starts a command and returns when it waits for a lock.
sub start_waiting
{
	my ($self, $sql) = @_;

	$self->start($sql);
	$self->{node}->poll_query_until('postgres',
		"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = $self->{pid}")
	  or croak "\"$sql\" does not wait";
	return $self;
}

# The session ended, or will; returns when its backend is gone, too.
sub wait_for_end
{
	my ($self) = @_;

	$self->finish;
	$self->{node}->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $self->{pid}")
	  or croak "backend $self->{pid} is still there";
	return;
}

sub quit
{
	my ($self) = @_;

	$self->{in} .= "\\q\n" if $self->{run}->pumpable;
	# Also of a session that ended by itself: its pipes are still open.
	eval { $self->{run}->finish };
	return;
}

# psql alone dies, without a word to the server.
sub kill_client
{
	my ($self) = @_;

	$self->{run}->signal('KILL');
	eval { $self->{run}->finish };
	return;
}

1;
