// Signs what standard input lists, with the signer of the AWS SDK for JavaScript: URLs, or cookies.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const { getSignedUrl, getSignedCookies } = createRequire(process.argv[2] + "/")("@aws-sdk/cloudfront-signer");
const wanted = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(wanted.map(({ cookies, ...input }) => (cookies ? getSignedCookies : getSignedUrl)(input))));
