// Loaded before emulate: it listens on loopback only, and ends when its standard input does.
const net = require('net');
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, host, ...rest) {
  return listen.call(this, port, typeof port === 'number' ? '127.0.0.1' : host, ...rest);
};
process.stdin.on('end', () => process.exit(0)).resume();
