/** The kernel's unit of processor time in /proc: ticks a second, 100 on every architecture that Linux still runs on. */
export const USER_HZ = 100;
