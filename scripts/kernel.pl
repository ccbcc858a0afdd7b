# Asks the kernel for what Skein is made of, before anything is installed: Perl is in every Debian, ip and nft are not.
# Each argument is `link KIND`, `FAMILY TYPE`, a type of nftables' chains, or `rule NAME`, an expression of its rules;
# prints those that the kernel does not have. The caller gives it a network namespace that is gone with it.
use strict;
use warnings;

use constant { NETLINK_ROUTE => 0, NETLINK_NETFILTER => 12, REQUEST => 1, ACK => 4, CREATE => 0x400 };
use constant { ENOENT => 2, EINVAL => 22, EOPNOTSUPP => 95 };
use constant { NESTED => 0x8000, IPV4 => 2, BRIDGE => 7 };

sub attribute {
  my ($type, $data) = @_;
  my $length = 4 + length $data;
  return pack('SSa*', $length, $type, $data) . "\0" x (-$length % 4);
}

sub message {
  my ($type, $flags, $body) = @_;
  return pack('LSSLLa*', 16 + length $body, $type, REQUEST | $flags, 1, 0, $body);
}

# What the kernel says first to these messages, as a number of errno; 0 when it has nothing against them.
sub ask {
  my ($protocol, @messages) = @_;
  socket(my $kernel, 16, 3, $protocol) or return $! + 0;    # AF_NETLINK, SOCK_RAW
  setsockopt($kernel, 1, 20, pack('qq', 2, 0));             # SO_RCVTIMEO: two seconds
  send($kernel, join('', @messages), 0, pack('SSLL', 16, 0, 0, 0)) or return $! + 0;
  defined recv($kernel, my $answer, 8192, 0) or return $! + 0;
  return -unpack('x16 l', $answer);
}

# A kind that wants to be told more than its name is there as well.
sub has_link {
  my ($kind) = @_;
  my $body = pack('x16') . attribute(3, "probe-$kind\0") . attribute(18, attribute(1, "$kind\0"));
  return ask(NETLINK_ROUTE, message(16, ACK | CREATE, $body)) != EOPNOTSUPP;
}

# A table, and in it a chain of that type at its first hook. The batch has no end, so it is checked and not carried out.
sub chain {
  my ($family, $type, $flags) = @_;
  my $header = pack('CCn', $family, 0, 0);
  my $hook = attribute(1, pack('N', 0)) . attribute(2, pack('N', 0xffffff9c));
  my $chain = attribute(1, "probe\0") . attribute(3, "probe\0") . attribute(NESTED | 4, $hook) . attribute(7, "$type\0");
  return (
    message(0x10, 0, pack('CCn', 0, 0, 10)),
    message(0xa00, CREATE, $header . attribute(1, "probe\0")),
    message(0xa03, $flags | CREATE, $header . $chain),
  );
}

sub has_chain {
  my ($family, $type) = @_;
  return ask(NETLINK_NETFILTER, chain($family, $type, ACK)) == 0;
}

# In a rule of such a chain, with nothing said of what it shall do: whoever knows it misses that, or does not want it at
# that hook, which Linux 6.1 says before the batch has ended. Unknown it would be ENOENT.
sub has_expression {
  my ($name) = @_;
  my $rule = attribute(1, "probe\0") . attribute(2, "probe\0");
  $rule .= attribute(NESTED | 4, attribute(NESTED | 1, attribute(1, "$name\0")));
  my $said = ask(
    NETLINK_NETFILTER,
    chain(IPV4, 'nat', 0),
    message(0xa06, ACK | CREATE, pack('CCn', IPV4, 0, 0) . $rule),
  );
  return $said == 0 || $said == EINVAL || $said == EOPNOTSUPP;
}

my %families = (ip => IPV4, bridge => BRIDGE);
for (@ARGV) {
  my ($what, $name) = split ' ';
  my $has = $what eq 'link' ? has_link($name) : $what eq 'rule' ? has_expression($name) : has_chain($families{$what}, $name);
  print "$_\n" unless $has;
}
