-- SPDX-License-Identifier: Apache-2.0
-- Requests for wrk: wrk ... -s http.lua URL -- MODE TOKEN PREFIX [OBJECTS [LIMIT]]
-- LIMIT: stop after so many answers (0: none)
-- MODE: create | update | get | apply (Runs of about 2 KB) | list | put (etcd's JSON gateway)
local mode, token, prefix, objects
local limit, answered = 0, 0
local n, runs = 0, "/apis/drover.dev/v1/namespaces/default/runs"
local headers = {}
local text
local free = {}

-- Twenty environment variables make a manifest of 2 KB, none longer than people write.
local function manifest(name, serial, revision)
    local env = {}
    for i = 1, 26 do
        env[i] = string.format('"SETTING_%02d_OF_THE_RUN":"value number %02d, as long as they are"', i, i)
    end
    return string.format('{"apiVersion":"drover.dev/v1","kind":"Run","metadata":{"name":"%s",%s' ..
        '"labels":{"app":"bench","serial":"s%d"}},"spec":{"type":"task",' ..
        '"image":"registry.example/team/train:2026-11","desiredState":"Stopped",' ..
        '"commands":["python3 train.py --epochs 10 --out /data/out"],"maxDuration":"1h",' ..
        '"resources":{"cpu":"2..","memory":"4GB..","gpu":"A100:80GB:2"},"env":{%s}}}',
        name, revision and '"resourceVersion":"' .. revision .. '",' or "", serial,
        table.concat(env, ","))
end

function init(args)
    mode, token, prefix, objects = args[1], args[2], args[3], tonumber(args[4] or "1000")
    limit = tonumber(args[5] or "0")
    if token ~= "none" then
        headers["Authorization"] = "Bearer " .. token
    end
    headers["Content-Type"] = "application/json"
    math.randomseed(#prefix + os.time())
    if mode == "put" then
        -- Keys and a value of the same sizes; base64 as the gateway wants it (any text of
        -- its alphabet is a value).
        text = string.rep("QUJD", 2048 / 3)
    end
end

function request()
    n = n + 1
    if mode == "create" then
        return wrk.format("POST", runs, headers, manifest(prefix .. n, n))
    elseif mode == "update" then
        -- An update names the revision that it replaces: of an answer that has come.
        local o = table.remove(free)
        if not o then
            return wrk.format("POST", runs, headers, manifest(prefix .. n, n))
        end
        return wrk.format("PUT", runs .. "/" .. o.name, headers, manifest(o.name, n, o.revision))
    elseif mode == "apply" then
        headers["Content-Type"] = "application/apply-patch+yaml"
        local name = "fix-" .. (n % objects)
        return wrk.format("PATCH", runs .. "/" .. name .. "?fieldManager=bench&force=true",
            headers, manifest(name, n))
    elseif mode == "get" then
        return wrk.format("GET", runs .. "/fix-" .. (n % objects), headers)
    elseif mode == "put" then
        local key = string.format("%-24s%08d", prefix, n):gsub("[^%w]", "A")
        return wrk.format("POST", "/v3/kv/put", headers,
            '{"key":"' .. key .. '","value":"' .. text .. '"}')
    end
    return wrk.format("GET", "/hello", headers)
end

local threads = {}
function setup(thread)
    table.insert(threads, thread)
end

local bad
function response(status, _, body)
    answered = answered + 1
    if answered == limit then
        wrk.thread:stop()
    end
    if mode == "update" and status < 300 then
        table.insert(free, {name = body:match('"name":"([^"]*)"'),
            revision = body:match('"resourceVersion":"(%d+)"')})
    end
    if status >= 300 and not bad then
        bad = true
        io.stderr:write("status " .. status .. ": " .. body:sub(1, 300) .. "\n")
    end
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '\nRESULT {"requests":%d,"us":%d,"bad":%d,"p50":%.3f,"p99":%.3f,"max":%.3f}\n',
        summary.requests, summary.duration, e.status + e.connect + e.read + e.write,
        latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
