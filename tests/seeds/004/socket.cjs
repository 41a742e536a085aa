// A client of seed 004's WebSocket: shows its token, pings, sends a message, waits for an answer.
// Reads {url, token, to, id} and prints the frames that came.
const WebSocket = require('ws');

const {url, token, to, id} = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const ws = new WebSocket(url.replace('http', 'ws') + '/ws');
const frames = [];
const send = (type, data) => ws.send(JSON.stringify({type, data}));

ws.onopen = () => send('auth', {token});
ws.onmessage = ({data}) => {
  const frame = JSON.parse(data);
  frames.push(frame);
  if (frame.type === 'auth_success') send('ping');
  if (frame.type === 'pong') send('message', {id, toId: to, chatType: 'single', content: 'hello', contentType: 'text'});
  if (frame.type === 'message') ws.close();
};
ws.onclose = () => console.log(JSON.stringify(frames));
ws.onerror = ({message}) => { console.error(message); process.exit(1); };
setTimeout(() => { console.error('no answer', frames); process.exit(1); }, 20000).unref();
