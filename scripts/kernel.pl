# Asks the kernel for what Skein is made of, before anything is installed: Perl is in every Debian, ip and nft are not.
# Each argument is `link KIND` or `nat`; prints those that the kernel does not have. The caller gives it a network
# namespace that is gone with it.
use strict;
use warnings;

use constant { NETLINK_ROUTE => 0, NETLINK_NETFILTER => 12, REQUEST => 1, ACK => 4, CREATE => 0x400 };
use constant EOPNOTSUPP => 95;

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

# A table, and in it a chain of type nat at prerouting. The batch has no end, so it is checked and not carried out.
sub has_nat {
  my $family = pack('CCn', 2, 0, 0);
  my $hook = attribute(1, pack('N', 0)) . attribute(2, pack('N', 0xffffff9c));
  my $chain = attribute(1, "probe\0") . attribute(3, "probe\0") . attribute(0x8004, $hook) . attribute(7, "nat\0");
  return ask(
    NETLINK_NETFILTER,
    message(0x10, 0, pack('CCn', 0, 0, 10)),
    message(0xa00, CREATE, $family . attribute(1, "probe\0")),
    message(0xa03, ACK | CREATE, $family . $chain),
  ) == 0;
}

for (@ARGV) {
  my $has = /^link (\w+)$/ ? has_link($1) : has_nat();
  print "$_\n" unless $has;
}
