-- Asks rolegate about a request. haproxy.cfg passes the address to ask, and denies every request that is not marked
-- as permitted here, so that an error in this script permits nothing.

-- What rolegate tells of a permitted request. Each is set even when it is empty.
local identity = { "x-rolegate-token-id", "x-rolegate-name", "x-rolegate-roles", "x-rolegate-decision" }
-- Fields that belong to the connection or to the body, which are no part of the question.
local left_out = {
    ["connection"] = true, ["content-length"] = true, ["expect"] = true, ["host"] = true, ["te"] = true,
    ["transfer-encoding"] = true, ["upgrade"] = true,
}

local function question(txn)
    local headers = {}
    for name, values in pairs(txn.http:req_get_headers()) do
        if not left_out[name] and not name:find("^x[-_.]forwarded[-_.]") then
            headers[name] = {}
            for at = 0, #values do
                table.insert(headers[name], values[at])
            end
        end
    end
    headers["x-forwarded-method"] = { txn.sf:method() }
    headers["x-forwarded-uri"] = { txn.sf:pathq() }
    headers["x-forwarded-host"] = { txn.sf:req_hdr("host") }
    headers["x-forwarded-proto"] = { txn.sf:ssl_fc() == "1" and "https" or "http" }
    headers["x-forwarded-for"] = { txn.sf:src() }
    return headers
end

local function ask(txn, url)
    local answer = core.httpclient():get { url = url, headers = question(txn) }
    if answer.status == 200 then
        for _, name in ipairs(identity) do
            local values = answer.headers[name]
            txn.http:req_set_header(name, values and values[0] or "")
        end
        txn:set_var("txn.rolegate_permitted", true)
        return
    end
    -- A denial, in rolegate's own words. Without an answer of rolegate it is the 503 of HAProxy.
    local reply = txn:reply { status = answer.status, body = answer.body }
    for name, values in pairs(answer.headers) do
        if not left_out[name] then
            for at = 0, #values do
                reply:add_header(name, values[at])
            end
        end
    end
    txn:done(reply)
end

core.register_action("rolegate", { "http-req" }, ask, 1)
