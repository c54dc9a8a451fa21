#!/usr/bin/env bash
# Plays a day of a cinema: its services tell what happens, over RabbitMQ, and
# Belfry tells the people. Played again on the same day it sends nothing again.
#
#   BELFRY      the program; bin/belfry by default
#   FANS        how many have bookmarked the film; 5000 by default
#   DAY         the day that is played, any word; today by default
#   PATIENCE    how many seconds to wait for the mails; 120 by default
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
belfry=${BELFRY:-$here/../../bin/belfry}
fans=${FANS:-5000}
today=$(date -u +%F)
day=${DAY:-$today}
began=$SECONDS

say() { printf '\n%s\n' "$*"; }

# emit has a service tell something. An id that says what it is, and not a random
# one, makes a second play of the day no second mail.
emit() {
	local source=$1 type=$2 id=$3
	shift 3
	"$belfry" emit --source "$source" --type "$type" --id "$day/$id" "$@"
}

# bookmarks is the list of those who wait for the film. Each has an address.
bookmarks() {
	seq "$fans" | awk -v day="$day" '{ printf "%s{\"email\":\"fan%d@cinema.example\",\"name\":\"Fan %d\"}", (NR > 1 ? "," : ""), $1, $1 }'
}

say "The templates and triggers of the cinema"
for file in "$here"/templates/*.yaml; do "$belfry" template put "$file"; done
for file in "$here"/triggers/*.yaml; do "$belfry" trigger put "$file"; done
sleep 5 # by then every starter knows them

say "08:00 three people register: their account service tells so, in a line each"
for who in "kelvin Kris Kelvin" "hari Hari" "snaut Dr. Snaut"; do
	printf '{"id":"%s/registered/%s","data":{"email":"%s@cinema.example","name":"%s"}}\n' "$day" "${who%% *}" "${who%% *}" "${who#* }"
done | "$belfry" emit --source /accounts --type cinema.user.registered --lines

say "12:30 Ann's review is liked by two people, and by Ann, who is not told of that"
ann=4518e644-1ff3-4003-a14e-99dfe3fdd7ab
likes=0
for by in "u1 Bruno" "u2 Chiyo" "$ann Ann"; do
	likes=$((likes + 1))
	emit /reviews cinema.review.liked "liked/${by#* }" --encoding binary --data \
		"{\"review\":{\"author_id\":\"$ann\",\"film\":\"Stalker\",\"likes\":$likes},\"by\":{\"id\":\"${by% *}\",\"name\":\"${by#* }\"}}"
done

say "18:00 Solaris is released, which $fans people have bookmarked: one event"
printf '{"film":"Solaris","year":1972,"bookmarked_by":[%s]}' "$(bookmarks)" |
	emit /films cinema.film.released "released/solaris/$fans" --data -

say "18:01 a new device signs in to Dana's account: she must know at once, whoever else has mail"
emit /accounts belfry.notification.send "device/dana" --encoding plain --data \
	'{"template":"cinema-new-device","to":[{"user_id":"c9b8a7f6-0e1d-4b2c-9a38-475665748392"}],"priority":"high","data":{"device":"A phone","place":"Lisbon"}}'

# standing prints, for a template, how many notifications there are of today, how
# many deliveries they have and how many of these are sent and still to be sent.
standing() {
	"$belfry" list --template "$1" --from "${today}T00:00:00Z" --limit 1000 |
		awk 'NR > 1 { n++; total += $4; sent += $5; queued += $6 } END { print n + 0, total + 0, sent + 0, queued + 0 }'
}

say "Belfry is at it"
expected=$((3 + 2 + fans + 1))
while :; do
	all_sent=0 all_queued=0 rows=
	for template in cinema-welcome cinema-review-liked cinema-film-released cinema-new-device; do
		read -r n total sent queued < <(standing "$template")
		rows+=$(printf '%-22s %13d %10d %10d' "$template" "$n" "$total" "$sent")$'\n'
		all_sent=$((all_sent + sent)) all_queued=$((all_queued + queued))
	done
	[ "$all_sent" -ge "$expected" ] && [ "$all_queued" -eq 0 ] && break
	if [ $((SECONDS - began)) -gt "${PATIENCE:-120}" ]; then
		printf '%s\n' "$rows" >&2
		echo "after ${PATIENCE:-120} s $all_sent of $expected mails are sent; what nothing could be made of is in the queue belfry.intake.dead" >&2
		exit 1
	fi
	sleep 1
done

say "What today has caused so far"
printf '%-22s %13s %10s %10s\n%s' TEMPLATE NOTIFICATIONS DELIVERIES SENT "$rows"
printf '\n%d mails, %d s. Where to look:\n' "$all_sent" $((SECONDS - began))
cat <<'END_OF_PLACES'
  http://127.0.0.1:8025                                      the mails
  http://127.0.0.1:8233                                      the workflows
  bin/belfry list --template cinema-film-released            its notifications
  bin/belfry trigger list                                    what leads to what
END_OF_PLACES
