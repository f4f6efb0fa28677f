"""What the simulated videos are about: categories, their subtopics, and the words of each.

A title draws most of its words from its subtopic's list, so a text encoder can read the topic off
the title. The lists were written for this project.
"""

from collections.abc import Mapping

# category -> subtopic -> words that belong to it and to few others.
TOPICS: Mapping[str, Mapping[str, str]] = {
    "cooking": {
        "baking": "sourdough dough oven crust yeast loaf",
        "grilling": "barbecue charcoal brisket ribs smoker marinade",
        "desserts": "chocolate caramel pudding frosting cheesecake meringue",
        "noodles": "ramen pasta broth udon sauce dumpling",
        "vegan": "tofu lentil chickpea hummus tempeh salad",
    },
    "gaming": {
        "shooters": "sniper headshot loadout squad respawn reload",
        "speedruns": "glitch skip frame route split record",
        "sandbox": "redstone pickaxe blocks mob village cavern",
        "strategy": "siege empire turn faction tower rush",
        "retro": "arcade cartridge pixel console joystick sprite",
    },
    "music": {
        "guitar": "riff fretboard strings acoustic solo capo",
        "piano": "keys chords sonata pedal etude nocturne",
        "hiphop": "verse freestyle rhyme flow mixtape cypher",
        "production": "synth sampler mixing bassline plugin drop",
        "choir": "harmony soprano tenor hymn chorale acapella",
    },
    "dance": {
        "ballet": "pirouette pointe barre arabesque tutu plie",
        "breaking": "windmill headspin toprock crew freeze battle",
        "salsa": "partner spin bachata rhythm merengue hips",
        "kpop": "choreography idol cover formation lightstick comeback",
        "tap": "shuffle soles broadway timestep vaudeville clatter",
    },
    "comedy": {
        "pranks": "prank gotcha hidden startled roommate airhorn",
        "sketches": "sketch boss office parody character punchline",
        "standup": "microphone heckler crowd joke stage callback",
        "impressions": "voice mimic celebrity accent impersonation cartoon",
        "fails": "slip faceplant oops clumsy tumble blooper",
    },
    "sports": {
        "football": "striker goalkeeper penalty dribble volley offside",
        "basketball": "dunk crossover buzzer rebound court layup",
        "tennis": "serve backhand racket ace deuce baseline",
        "climbing": "boulder crimp belay summit chalk overhang",
        "skating": "kickflip halfpipe ollie grind skateboard ramp",
    },
    "fitness": {
        "yoga": "asana stretch breath mat sunrise flexibility",
        "lifting": "deadlift squat barbell bench plates reps",
        "running": "marathon pace stride interval trail sneakers",
        "calisthenics": "pullup planche handstand dips rings pushup",
        "nutrition": "protein calories macros smoothie oats fiber",
    },
    "beauty": {
        "makeup": "eyeliner blush foundation palette contour lipstick",
        "skincare": "serum moisturizer cleanser retinol sunscreen toner",
        "nails": "manicure gel polish acrylic cuticle glitter",
        "hair": "braid curls balayage bangs updo keratin",
        "fragrance": "perfume vanilla musk jasmine amber cologne",
    },
    "fashion": {
        "thrift": "vintage secondhand haul bargain denim flea",
        "sneakers": "laces colorway drop sole collab limited",
        "sewing": "stitch fabric hem pattern bobbin needle",
        "streetwear": "hoodie oversized cargo beanie graphic layering",
        "formal": "tuxedo gown tailoring cufflinks silk runway",
    },
    "travel": {
        "beaches": "island snorkel lagoon palm surf hammock",
        "cities": "skyline metro rooftop market neighborhood museum",
        "mountains": "alpine ridge glacier trek hut valley",
        "vanlife": "camper roadtrip campsite stove awning highway",
        "budget": "hostel backpack cheap flight itinerary visa",
    },
    "animals": {
        "cats": "kitten purr whiskers litter tabby meow",
        "dogs": "puppy fetch leash retriever bark corgi",
        "birds": "parrot feather nest cockatoo finch talon",
        "reptiles": "gecko python terrarium scales iguana tortoise",
        "wildlife": "lion elephant savanna predator herd migration",
    },
    "nature": {
        "gardening": "compost seedling tomato pruning mulch harvest",
        "ocean": "reef whale dolphin tide coral abyss",
        "weather": "tornado lightning storm hail radar blizzard",
        "forests": "mushroom moss oak canopy foraging fern",
        "insects": "beetle butterfly ant hive mantis cocoon",
    },
    "science": {
        "space": "rocket orbit telescope galaxy nebula astronaut",
        "chemistry": "reaction beaker acid crystal molecule titration",
        "physics": "quantum gravity magnet pendulum laser vacuum",
        "biology": "cell enzyme microscope genome bacteria neuron",
        "mathematics": "proof prime integral geometry fractal theorem",
    },
    "technology": {
        "phones": "smartphone camera battery unboxing charger foldable",
        "programming": "python debug compiler algorithm terminal refactor",
        "keyboards": "switches keycaps lubed thock macro tactile",
        "robots": "servo drone sensor actuator gripper autonomous",
        "computers": "gpu motherboard overclock cooling benchmark watercooled",
    },
    "crafts": {
        "woodwork": "chisel lathe dovetail plywood sawdust walnut",
        "pottery": "clay kiln glaze wheel bowl ceramic",
        "knitting": "yarn crochet sweater purl skein cardigan",
        "origami": "paper fold crane crease tessellation modular",
        "resin": "epoxy mold pour pigment coaster tabletop",
    },
    "art": {
        "painting": "acrylics canvas brush watercolor easel impasto",
        "drawing": "pencil portrait shading sketchbook charcoals anatomy",
        "digital": "tablet layers procreate render illustration stylus",
        "calligraphy": "ink nib lettering flourish parchment script",
        "sculpture": "marble bronze carving bust plaster armature",
    },
    "education": {
        "languages": "vocabulary grammar pronunciation idiom fluent verbs",
        "history": "ancient medieval dynasty revolution archive ruins",
        "finance": "invest stocks budgeting savings dividend mortgage",
        "study": "exam flashcards notes focus revision semester",
        "careers": "interview resume salary recruiter internship promotion",
    },
    "family": {
        "parenting": "toddler bedtime diaper tantrum stroller naptime",
        "weddings": "bride vows bouquet groom reception aisle",
        "pregnancy": "ultrasound trimester midwife nursery bump newborn",
        "siblings": "twins brother sister sharing rivalry playroom",
        "elders": "grandma grandpa stories wisdom photoalbum anniversary",
    },
    "cars": {
        "drifting": "drift tires handbrake smoke oversteer circuit",
        "restoration": "rust bodywork carburetor chrome barnfind primer",
        "electric": "charging kilowatt regen autopilot torque range",
        "motorcycles": "throttle helmet superbike exhaust wheelie chopper",
        "offroad": "winch mud suspension jeep dunes crawler",
    },
    "film": {
        "reviews": "plot director ending cast sequel spoiler",
        "anime": "manga shonen episode opening mecha sensei",
        "effects": "greenscreen compositing explosion cgi prosthetic miniature",
        "horror": "haunted ghost jumpscare slasher cursed basement",
        "documentary": "interviewees footage narrator investigation truth archival",
    },
}

# Words that fit any title, and so tell nothing about its topic.
FILLERS: tuple[str, ...] = tuple(
    "easy best my new how why first secret ultimate quick daily perfect real simple crazy "
    "honest tiny biggest weird beautiful tips challenge moments story guide mistakes day part "
    "trying reaction ideas hacks tutorial compilation".split()
)

# Tags that any video may carry.
COMMON_TAGS: tuple[str, ...] = ("fyp", "viral", "trending", "shorts", "foryou", "new")

CATEGORIES: tuple[str, ...] = tuple(TOPICS)
SUBTOPICS: tuple[tuple[str, str], ...] = tuple(
    (category, subtopic) for category, subtopics in TOPICS.items() for subtopic in subtopics
)
WORDS: tuple[tuple[str, ...], ...] = tuple(
    tuple(TOPICS[category][subtopic].split()) for category, subtopic in SUBTOPICS
)
SUBTOPICS_PER_CATEGORY = len(SUBTOPICS) // len(CATEGORIES)
WORDS_PER_SUBTOPIC = len(WORDS[0])
