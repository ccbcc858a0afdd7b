/**
 * The program of the demo image: one process that answers HTTP (with keep-alive) and UDP, and says which container
 * answered. It is Perl, which every Debian has (perl-base is Essential) and which needs no module for sockets.
 *
 * Why not busybox httpd: it forks for every connection, knows no keep-alive, dies on SIGTERM in the middle of an
 * answer, and busybox has no UDP server at all; a load test would measure the fork.
 *
 * Arguments are `key=value`. Paths: `/` says who answers, `/size/N` gives N bytes, `/slow/MS` answers after MS
 * milliseconds, `/exit/CODE` ends the container.
 */
export const SERVER_DEFAULTS = {
  /** TCP port of HTTP; 0: none. */
  port: 80,
  /** UDP port that answers each datagram with the container's name and the datagram; 0: none. */
  udp: 0,
  /** Ends by itself with this code; -1: never. */
  exit: -1,
  /** Seconds until it does. */
  after: 0,
  /** 1: SIGTERM is ignored. */
  deaf: 0,
  /** Seconds that open connections are still served after SIGTERM. */
  linger: 2,
  /** Lines on standard output at the start, `line 1` ...; the last word of every second one goes to stderr too. */
  lines: 0,
  /** Milliseconds between further lines; 0: none. */
  every: 0,
};

export const SERVER = String.raw`#!/usr/bin/perl
# No module is in the image: no strict, no Errno, socket constants as numbers.
sub EAGAIN () { 11 }

my %o = (DEFAULTS);
for (@ARGV) {
  die "answer: unknown argument $_\n" unless /^(\w+)=(-?\d+)$/ && exists $o{$1};
  $o{$1} = $2;
}
$| = 1;
my $stopping = 0;
$SIG{PIPE} = 'IGNORE';
$SIG{INT} = $SIG{TERM} = $o{deaf} ? 'IGNORE' : sub { $stopping ||= now() };

sub now { my $t = 0; if (open my $f, '<', '/proc/uptime') { ($t) = split ' ', <$f> } return $t }
sub slurp { open my $f, '<', $_[0] or return ''; local $/; my $t = <$f>; return defined $t ? $t : '' }

my $host = slurp('/proc/sys/kernel/hostname');
chomp $host;
my $node = $ENV{NODE} // '-';

sub addresses {
  my ($last, %seen) = ('');
  for (split /\n/, slurp('/proc/net/fib_trie')) {
    $last = $1 if /\|-- (\d+\.\d+\.\d+\.\d+)/;
    $seen{$last} = 1 if m{/32 host LOCAL} && $last !~ /^127\./;
  }
  return join ' ', sort keys %seen;
}
my ($addresses, $read_at) = ('', -10);
sub who {
  my ($peer, $path) = @_;
  ($addresses, $read_at) = (addresses(), time) if time - $read_at >= 1;
  return "container $host\nnode $node\naddresses $addresses\nclient $peer\nrequest $path\n";
}
sub name_of { my ($port, $ip) = (unpack 'S n a4', $_[0])[1, 2]; return join('.', unpack 'C4', $ip) . ":$port" }

sub listener {
  my ($type, $protocol, $port) = @_;
  socket(my $s, 2, $type, $protocol) or die "answer: socket: $!\n";
  setsockopt($s, 1, 2, pack 'l', 1);
  bind($s, pack 'S n a4 x8', 2, $port, "\0\0\0\0") or die "answer: bind to port $port: $!\n";
  if ($type == 1) { listen($s, 1024) or die "answer: listen: $!\n" }
  fcntl($s, 4, 2048);
  return $s;
}
my $tcp = $o{port} ? listener(1, 6, $o{port}) : undef;
my $udp = $o{udp} ? listener(2, 17, $o{udp}) : undef;
my (%conn, %later);
my $rbits = '';
vec($rbits, fileno $tcp, 1) = 1 if $tcp;
vec($rbits, fileno $udp, 1) = 1 if $udp;
my $wbits = '';

my $line = 0;
sub say_line { $line++; print "line $line\n"; print STDERR "error $line\n" if $line % 2 == 0 }
say_line() for 1 .. $o{lines};
my ($born, $next_line) = (now(), now() + $o{every} / 1000);

sub drop {
  my ($fd) = @_;
  vec($rbits, $fd, 1) = 0;
  vec($wbits, $fd, 1) = 0;
  delete $later{$fd};
  delete $conn{$fd};
}
sub flush {
  my ($fd, $c) = ($_[0], $conn{$_[0]});
  while (length $c->{out}) {
    my $n = syswrite $c->{s}, $c->{out}, 262144;
    if (!defined $n) {
      if ($! == EAGAIN) { vec($wbits, $fd, 1) = 1; return }
      return drop($fd);
    }
    substr($c->{out}, 0, $n, '');
  }
  vec($wbits, $fd, 1) = 0;
  drop($fd) if $c->{close};
}
sub respond {
  my ($fd, $status, $body) = @_;
  my $c = $conn{$fd};
  $c->{close} = 1 if $stopping;
  $c->{out} .= "HTTP/1.1 $status\r\nContent-Type: text/plain\r\nContent-Length: " . length($body)
    . "\r\nConnection: " . ($c->{close} ? 'close' : 'keep-alive') . "\r\n\r\n" . ($c->{head} ? '' : $body);
  flush($fd);
}
sub requests {
  my ($fd) = @_;
  while (my $c = $conn{$fd}) {
    return if $later{$fd} || $c->{close};
    my $end = index $c->{in}, "\r\n\r\n";
    if ($end < 0) { return length $c->{in} > 65536 ? drop($fd) : undef }
    my $head = substr $c->{in}, 0, $end;
    my $length = $head =~ /\r\ncontent-length:\s*(\d+)/i ? $1 : 0;
    return if length $c->{in} < $end + 4 + $length;
    substr($c->{in}, 0, $end + 4 + $length, '');
    my ($method, $path, $version) = $head =~ m{^(\S+) (\S+) HTTP/(1\.\d)};
    if (!defined $version) { $c->{close} = 1; respond($fd, '400 Bad Request', "not HTTP\n"); next }
    $c->{head} = $method eq 'HEAD';
    $c->{close} = 1 if $head =~ /\r\nconnection:\s*close/i || ($version eq '1.0' && $head !~ /keep-alive/i);
    if ($path =~ m{^/size/(\d+)$}) { respond($fd, '200 OK', 'x' x ($1 > 1e9 ? 1e9 : $1)) }
    elsif ($path =~ m{^/slow/(\d+)$}) { $later{$fd} = [now() + $1 / 1000, $path] }
    elsif ($path =~ m{^/exit/(\d+)$}) { exit $1 }
    else { respond($fd, '200 OK', who($c->{peer}, $path)) }
  }
}

while (1) {
  my $t = now();
  if ($o{exit} >= 0 && $t - $born >= $o{after}) { exit $o{exit} }
  if ($stopping) {
    if ($tcp) { vec($rbits, fileno $tcp, 1) = 0; close $tcp; undef $tcp }
    exit 0 if !%conn || $t - $stopping >= $o{linger};
  }
  if ($o{every} && $t >= $next_line) { say_line(); $next_line = $t + $o{every} / 1000 }
  for my $fd (grep { $later{$_}[0] <= $t } keys %later) {
    my $path = (delete $later{$fd})->[1];
    respond($fd, '200 OK', who($conn{$fd}{peer}, $path));
    requests($fd) if $conn{$fd};
  }
  my $wait = %later || $o{every} || $stopping || $o{exit} >= 0 ? 0.02 : 5;
  my $n = select(my $r = $rbits, my $w = $wbits, undef, $wait);
  next if $n <= 0;
  if ($tcp && vec($r, fileno $tcp, 1)) {
    for (1 .. 64) {
      my $peer = accept(my $s, $tcp) or last;
      fcntl($s, 4, 2048);
      setsockopt($s, 6, 1, pack 'l', 1);
      $conn{fileno $s} = { s => $s, in => '', out => '', close => 0, head => 0, peer => name_of($peer) };
      vec($rbits, fileno $s, 1) = 1;
      vec($r, fileno $s, 1) = 1;
    }
  }
  if ($udp && vec($r, fileno $udp, 1)) {
    while (defined(my $peer = recv $udp, my $data, 65535, 0)) { send $udp, "$host $data", 0, $peer }
  }
  for my $fd (keys %conn) {
    my $c = $conn{$fd};
    flush($fd) if vec($w, $fd, 1);
    next unless $conn{$fd} && vec($r, $fd, 1);
    my $got = sysread $c->{s}, $c->{in}, 65536, length $c->{in};
    if (defined $got && $got == 0) { drop($fd) }
    elsif (defined $got) { requests($fd) }
    elsif ($! != EAGAIN) { drop($fd) }
  }
}
`.replace(
  'DEFAULTS',
  Object.entries(SERVER_DEFAULTS)
    .map(([key, value]) => `${key} => ${value}`)
    .join(', '),
);
