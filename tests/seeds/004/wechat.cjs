// Runs seed 004's forwarding snippet, as it stands, on the body that comes on standard input. Prints what it answered and what
// it would have requested.
const calls = [];
let handler;
const app = { post: (path, given) => { handler = { path, given }; } };
const fetch = (url, init) => { calls.push({ url, ...init }); };

// 示例:消息事件转发到企业微信
app.post('/api/webhook/wechat', (req, res) => {
  const { event, data } = req.body;
  
  if (event === 'new_message') {
    // 转发到企业微信机器人
    fetch('https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=xxx', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({
        msgtype: 'text',
        text: { content: `[IM消息] ${data.fromName}: ${data.content}` }
      })
    });
  }
  
  res.json({ code: 200 });
});

const body = JSON.parse(require("fs").readFileSync(0, "utf8"));
handler.given({ body }, { json: (answer) => console.log(JSON.stringify({ path: handler.path, answer, calls })) });
