// Makes a container at Azurite: PORT ACCOUNT KEY CONTAINER, signed with the key (Azure's SharedKey).
const [port, account, key, container] = process.argv.slice(-4);
const headers = { 'x-ms-date': new Date().toUTCString(), 'x-ms-version': '2021-12-02' };
const said = Object.entries(headers).map(([name, value]) => `${name}:${value}`);
const text = ['PUT', ...Array(11).fill(''), ...said, `/${account}/${account}/${container}`, 'restype:container'];
const mac = require('crypto').createHmac('sha256', Buffer.from(key, 'base64')).update(text.join('\n')).digest('base64');
headers.Authorization = `SharedKey ${account}:${mac}`;
fetch(`http://127.0.0.1:${port}/${account}/${container}?restype=container`, { method: 'PUT', headers }).then(
  async (answer) => {
    if (answer.status === 201) return;
    console.error(answer.status, await answer.text());
    process.exitCode = 1;
  },
);
