/**
 * SCTP by hand, on raw sockets: few kernels have the protocol's own sockets, and the mesh needs them as little as any
 * router does, only connection tracking that knows the protocol. An INIT goes there, an INIT ACK comes back, with
 * right checksums. In Perl, which every Debian has; Node.js opens no raw sockets.
 */
import { existsSync } from 'node:fs';

export const SCTP_IS_TRACKED = existsSync('/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_closed');

const PACKETS = `
use Socket;
$| = 1;
sub crc32c {
  my $c = 0xffffffff;
  for (unpack 'C*', shift) { $c ^= $_; $c = ($c >> 1) ^ ($c & 1 ? 0x82f63b78 : 0) for 1 .. 8 }
  $c ^ 0xffffffff;
}
sub packet {
  my ($from, $to, $tag, $chunk) = @_;
  my $packet = pack('nnNN', $from, $to, $tag, 0) . $chunk;
  substr($packet, 8, 4) = pack('V', crc32c($packet));
  $packet;
}
sub chunk {
  my ($type, $tag, $rest) = @_;
  pack('CCnNNnnN', $type, 0, 20 + length $rest, $tag, 65536, 1, 1, 1) . $rest;
}
# Sender, its port, our port, its tag, its chunk.
sub receive {
  recv(S, my $bytes, 2000, 0);
  my $header = 4 * (ord($bytes) & 15);
  my ($from, $to) = unpack('nn', substr($bytes, $header));
  my $chunk = substr($bytes, $header + 12);
  (substr($bytes, 12, 4), $from, $to, unpack('N', substr($chunk, 4)), $chunk);
}
socket(S, PF_INET, SOCK_RAW, 132) or die "socket: $!";
`;

/** `PORT NAME`: answers every INIT with an INIT ACK whose cookie is NAME. */
export const SCTP_ANSWER = `${PACKETS}
my ($port, $name) = @ARGV;
print "ready\\n";
while (1) {
  my ($sender, $from, $to, $tag, $chunk) = receive();
  next if $to != $port || ord($chunk) != 1;
  my $cookie = pack('nna*', 7, 4 + length $name, $name);
  $cookie .= "\\0" x (-length($cookie) % 4);
  send(S, packet($to, $from, $tag, chunk(2, 77, $cookie)), 0, sockaddr_in(0, $sender));
}
`;

/** `ADDRESS PORT COUNT`: so many associations are begun; prints the cookie of each answer. */
export const SCTP_ASK = `${PACKETS}
my ($address, $port, $count) = @ARGV;
alarm 10;
for my $own (40001 .. 40000 + $count) {
  send(S, packet($own, $port, 0, chunk(1, $own, '')), 0, sockaddr_in(0, inet_aton($address)));
  while (1) {
    my ($sender, $from, $to, $tag, $chunk) = receive();
    next if $sender ne inet_aton($address) || $from != $port || $to != $own || ord($chunk) != 2;
    print substr($chunk, 24, unpack('n', substr($chunk, 22, 2)) - 4), "\\n";
    last;
  }
}
`;
