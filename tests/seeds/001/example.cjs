const axios = require('axios');

// API 配置
const apiKey = 'YOUR_API_KEY';
const baseUrl = 'https://api.example.com/api';

// 授权请求头
const headers = {
  'x-api-key': apiKey,
  'Content-Type': 'application/json'
};

// 发送消息
async function sendMessage(instanceId, phone, message) {
  try {
    const response = await axios.post(
      `${baseUrl}/whatsapp/${instanceId}/send`,
      { phone, message },
      { headers }
    );
    
    console.log(`消息已发送，ID: ${response.data.id}`);
    return response.data;
  } catch (error) {
    console.error('发送消息出错:', error.response?.data || error.message);
    throw error;
  }
}

// 获取二维码
async function getQrCode(instanceId) {
  try {
    const response = await axios.get(
      `${baseUrl}/whatsapp/${instanceId}/qr`,
      { headers }
    );
    
    // 二维码以字符串形式返回，可用于创建二维码
    const qrCode = response.data.qrCode;
    console.log('已收到二维码:', qrCode);
    return qrCode;
  } catch (error) {
    console.error('获取二维码出错:', error.response?.data || error.message);
    throw error;
  }
}

// 使用示例
(async () => {
  const instanceId = 'YOUR_INSTANCE_ID';
  await sendMessage(instanceId, '79001234567', '来自 Node.js 的问候！');
})();
